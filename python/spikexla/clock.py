"""`Clock`: how far the simulations of a module have come since its last start."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from .module import Module
from .state import State
from .steps import whole_steps
from .tree import all_nodes


@final
class Clock:
    """The steps made and the ms gone, kept with a module that `simulate` was given.

    Both are 64 bits, in four words of 32, so that they pass through a compiled function as they
    are; words of 0 are the start. They are in a State, so that a compiled `init_all_states` sets
    them back in every call; the State is held by this object, so that it is none of `net.states()`.
    """

    def __init__(self, step: int = 0, ms: float = 0.0) -> None:
        self.state = State(_words(step, ms), name="clock")

    @property
    def step(self) -> int:
        """The steps made."""
        return int(self._read(np.int64)[0])

    @property
    def ms(self) -> float:
        """The time gone."""
        return float(self._read(np.float64)[1])

    def _read(self, dtype: Any) -> np.ndarray:
        return np.asarray(self.state.value).view(dtype)

    def in_steps(self, dt: float) -> float:
        """The time gone in steps of `dt` ms: a whole number unless dt was another and fits not."""
        whole = whole_steps(self.ms, dt)
        return self.ms / dt if whole is None else float(whole)

    def advance(self, steps: int, dt: float) -> None:
        """Goes on by `steps` steps of `dt` ms."""
        self.state.value = _words(self.step + steps, (self.in_steps(dt) + steps) * dt)

    def restart(self) -> None:
        """Goes back to 0."""
        self.state.value = np.zeros(4, np.uint32)

    def call_it_zero(self) -> None:
        """Counts the time from here on; the steps made stay made."""
        self.state.value = _words(self.step, 0.0)


def _words(step: int, ms: float) -> np.ndarray:
    return np.concatenate([np.array([step]).view(np.uint32), np.array([ms]).view(np.uint32)])


def clock_of(net: Module) -> Clock:
    """The clock of `net`. A new one goes on from the furthest of its parts, whose States it has."""
    if net._clock is not None:
        return net._clock
    furthest = max(clocks_in(net), key=lambda clock: clock.ms, default=None)
    made = Clock() if furthest is None else Clock(furthest.step, furthest.ms)
    object.__setattr__(net, "_clock", made)
    net._changed()  # a compiled `init_all_states` knew no clock
    return made


def clocks_in(net: Module) -> list[Clock]:
    """The clocks of `net` and of the parts of it that were simulated by themselves."""
    return [node._clock for node in all_nodes(net) if node._clock is not None]
