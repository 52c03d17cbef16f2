"""Projection: the base of what carries spikes from one population to another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import environ
from ..comm.selves import check_targets
from ..dynamics import Deferred, Dynamics
from ..module import Batch, Module
from ..ops.wiring import DrawnDelays
from ..state import ACTIVE, ShortTermState
from .delay import Delay

_count = itertools.count()
_NO_DELAY = np.zeros((), np.uint16)


class _Ref:
    """Holds the target population, which belongs to the network and not to the projection."""

    def __init__(self, target: Any) -> None:
        self.target = target


class Projection(Module):
    """Base of all projections: `modules` act on the input first, then `comm` weighs it.

    `comm` maps spikes to sums of weights (`EventFixedProb`, `Linear`, any module or function).
    Call a projection with the spikes of the last step, before its target's step.

    delay: ms that spikes travel, rounded to steps: a number, one a source `(n_pre,)`, or one a
    synapse, shaped like `comm.conn.indices`; None is that of `comm`, else 0. Without delay a spike
    acts in the step after its own, with k steps k steps later; at most MOST_DELAY steps. Then the
    projection must be called in every step. It keeps events: any spike but 0 counts 1, and no
    gradient passes through it, unless with `differentiable_delay`.

    State, only if something is delayed: `history`, a shift register whose row j holds the spikes of
    j + 1 calls ago; uint32 `(*batch, K, ceil(n_pre / 32))`, where bit i of word w is source
    32 w + i. With differentiable_delay, floats `(*batch, K, n_pre)`.
    """

    def __init__(
        self,
        modules: tuple,
        comm: Callable[[Any], Any],
        post: Dynamics,
        delay: Any = None,
        differentiable_delay: bool = False,
        ahead: int = 0,
    ) -> None:
        super().__init__(f"{type(self).__name__}{next(_count)}")
        kind = type(self).__name__
        for what, module in (("comm", comm), *((f"module {k}", m) for k, m in enumerate(modules))):
            if not callable(module):
                raise TypeError(f"{kind}: {what} is {module!r}, which cannot be called with spikes")
        if not isinstance(post, Dynamics):
            raise TypeError(
                f"{kind}: post is {post!r}; give a population of neurons, such as LIF(100)"
            )
        out_size = getattr(comm, "out_size", None)
        if out_size is not None and out_size != post.in_size:
            raise ValueError(
                f"{kind}: comm has out_size {out_size}, but post has {post.in_size} neurons. Give "
                "comm the out_size of post."
            )
        check_targets(kind, comm)
        self.modules, self.comm = list(modules), comm
        self._post = _Ref(post)
        self._delay = None
        if delay is not None or hasattr(type(comm), "delay"):
            self._delay = Delay(kind, comm, delay, differentiable_delay, ahead)
            if modules and not differentiable_delay:
                raise TypeError(
                    f"{kind}: delay keeps events, but modules may make any number of them. Apply "
                    "the modules yourself, or give differentiable_delay=True."
                )
            if environ.get("dt", None) is not None:
                self.init_state()

    @property
    def post(self) -> Any:
        """The target population."""
        return self._post.target

    @property
    def _unit(self) -> str | None:
        return getattr(self.comm, "unit", None)

    # -- delay --------------------------------------------------------------------------------

    def init_state(self, batch_size: Batch = None) -> None:
        """Forgets the spikes on their way."""
        history = None if self._delay is None else self._delay.empty(batch_size)
        if history is not None:
            self.history = ShortTermState(history)
        elif hasattr(self, "history"):
            del self.history

    def reset_state(self, batch_size: Batch = None) -> None:
        """The same as `init_state`: the states keep their identity."""
        super().reset_state(batch_size=batch_size)
        self.init_state(batch_size=batch_size)

    def delay_steps(self, dt: float) -> np.ndarray:
        """The steps of `dt` ms until arrival, uint16: (), `(n_pre,)` or like `comm.conn.indices`.

        0 for what acts in the step after its spike's own.
        """
        return _NO_DELAY if self._delay is None else self._delay.steps(dt)

    @property
    def longest_delay_ms(self) -> float:
        """The longest delay in whole steps, in ms."""
        if self._delay is None:
            return 0.0
        dt = environ.get_dt_ms()
        return (self._delay.longest(dt) + self._delay.ahead) * dt

    def drawn_delays(self, dt: float) -> DrawnDelays | None:
        """The range of the delays that `comm` has yet to draw; None if these are `delay_steps`."""
        return None if self._delay is None else self._delay.drawn(dt)

    @property
    def delayed(self) -> bool:
        """Whether any spike travels for a step or more."""
        return self._delay is not None and self._delay.longest(environ.get_dt_ms()) > 0

    def _arrivals(self, args: tuple) -> list[Any]:
        """What reaches the target in this step, shortest delay first."""
        if not self.delayed:
            return [self._weighed(args)]
        assert self._delay is not None
        for module in self.modules:
            args = (module(*args),)
        if len(args) != 1:
            raise TypeError(
                f"{type(self).__name__} with a delay takes the spikes alone, not {len(args)} "
                "arguments"
            )
        arrivals, self.history.value = self._delay.send(args[0], self._history().value)
        return arrivals

    def _key(self, k: int) -> str:
        """The name under which the k-th of `_arrivals` waits."""
        return f"{self.name}+{k}" if k else str(self.name)

    def _history(self) -> ShortTermState:
        assert self._delay is not None
        longest = self._delay.longest(environ.get_dt_ms())
        if not hasattr(self, "history") and ACTIVE.frame is None:
            self.init_state()
        if not hasattr(self, "history") or self.history.value.shape[-2] != longest:
            raise ValueError(
                f"{type(self).__name__}: its delays have up to {longest} steps of "
                f"{environ.get_dt_ms()} ms, but it was started with another dt, or none. Call "
                "init_all_states(net) once dt is set, outside of jit and loops."
            )
        return self.history

    def _weighed(self, args: tuple) -> Any:
        """The input after `modules` and `comm`; deferred where `comm` can add in place."""
        for module in self.modules:
            args = (module(*args),)
        if len(args) == 1 and hasattr(self.comm, "accumulate"):
            return Deferred(self.comm, args[0])
        return self.comm(*args)

    def _require_unit(self, *allowed: str) -> None:
        if self._unit not in (None, *allowed):
            raise TypeError(
                f"{type(self).__name__}: the weights are in {self._unit}, but the target takes "
                f"{' or '.join(allowed)}"
            )
