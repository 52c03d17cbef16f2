"""CurrentProj: whatever comes in acts as a conductance or a current, without synaptic dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dynamics import Deferred, Dynamics
from ..synapse.base import SynOut
from ..synapse.coba import COBA
from ..synapse.cuba import CUBA
from .base import Projection


class CurrentProj(Projection):
    """What `comm` gives is the g of `out` in the next step of `post`.

    delay, in ms, and the State `history`: see `Projection`.

    >>> import spikexla as sx
    >>> neurons = sx.LIF(50)
    >>> readout = sx.CurrentProj(comm=sx.Linear(10, 50), out=sx.CUBA(), post=neurons)
    """

    def __init__(
        self,
        *modules: Callable[..., Any],
        comm: Any,
        out: SynOut,
        post: Dynamics,
        label: str | None = None,
        delay: Any = None,
        differentiable_delay: bool = False,
    ) -> None:
        super().__init__(modules, comm, post, delay, differentiable_delay)
        if not isinstance(out, SynOut):
            raise TypeError(f"CurrentProj: out is {out!r}; give an output, for example CUBA()")
        if isinstance(out, COBA):
            self._require_unit("S", "1")
        if isinstance(out, CUBA):
            out.expect_unit(self._unit)
        self.out, self.label = out, label
        post.add_current_input(str(self.name), out, label)

    def update(self, *args: Any) -> None:
        """Takes the input `(*batch, *comm.in_size)` of this step."""
        total = None
        for weighed in self._arrivals(args):
            total = weighed.add_to(total) if isinstance(weighed, Deferred) else weighed
        self.out.bind_cond(total)
