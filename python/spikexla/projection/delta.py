"""DeltaProj: spikes that move the target's potential at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dynamics import Dynamics
from .base import Projection


class DeltaProj(Projection):
    """The weights (in mV) of the spikes are added to V of `post` at the end of its next step.

    delay, in ms, and the State `history`: see `Projection`. It is counted to the step of arrival,
    so V jumps `delay + dt` after the spike; onto `IafPscExp.delta_receptor()`, after `delay`.

    >>> import spikexla as sx
    >>> neurons = sx.LIF(50)
    >>> to_all = sx.DeltaProj(comm=sx.EventFixedProb(100, 50, 0.1, 0.2, seed=1), post=neurons)
    """

    def __init__(
        self,
        *modules: Callable[..., Any],
        comm: Any,
        post: Dynamics,
        label: str | None = None,
        delay: Any = None,
        differentiable_delay: bool = False,
    ) -> None:
        super().__init__(modules, comm, post, delay, differentiable_delay)
        self._require_unit("mV", "1")
        self.label = label

    def update(self, *args: Any) -> None:
        """Takes the spikes `(*batch, *comm.in_size)`, bool or float, of the last step."""
        for k, weighed in enumerate(self._arrivals(args)):
            self.post.add_delta_input(self._key(k), weighed, self.label)
