"""Decaying: the base of synapses of one state that shrinks by a factor a step."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from .. import environ
from ..dynamics import put
from ..module import Batch
from ..ops.rounded import rounded
from ..state import ShortTermState
from ..units import attach, is_quantity, mantissa
from .base import Synapse, plain, unit_name


class Decaying(Synapse, abc.ABC):
    """A state `g`, `(*batch, *in_size)`, that a step multiplies by `decay` and then adds jumps to.

    The jumps are added in the order in which they came.
    """

    g_initializer: Any
    g_unit: str | None

    def init_state(self, batch_size: Batch = None) -> None:
        if not self._start_again(batch_size):
            made = self.g_initializer
            made = made(self.varshape) if callable(made) else getattr(made, "value", made)
            self.g_unit = unit_name(made)
            g, _ = self._start(self.g_initializer, self.g_unit or "1", "g_initializer", batch_size)
            self.g = ShortTermState(g if self.g_unit is None else attach(g, self.g_unit))
            self._note_start(self.g_initializer, batch_size, self.g)
        self._reset_inputs()

    def reset_state(self, batch_size: Batch = None) -> None:
        """The same as `init_state`: the states keep their identity."""
        self.init_state(batch_size=batch_size)

    def _reset_inputs(self) -> None:
        self._current.clear()
        self._delta.clear()

    @abc.abstractmethod
    def decay(self, dt: Any) -> jax.Array:
        """What a step of `dt` multiplies g by, before the jumps."""

    def update(self, x: Any = None) -> Any:
        """One step; returns g. `x` is added like a jump; added currents are integrated."""
        decay = self.decay(environ.get_dt_ms())
        total = rounded(self.kernel_state() * decay)
        for value in self._current.take():
            current = value(self.g.value) if callable(value) else value
            total = total + (1 - decay) * self._plain(current)
        for value in self._delta.take():
            if hasattr(value, "add_to"):
                total = value.add_to(total)
            else:
                total = total + self._plain(value() if callable(value) else value)
        if x is not None:
            total = total + self._plain(x)
        self.set_kernel_state(total)
        return self.g.value

    def kernel_state(self) -> jax.Array:
        """The plain array of g."""
        return jnp.asarray(self._plain(self.g.value))

    def set_kernel_state(self, g: jax.Array) -> None:
        """Writes back what `kernel_state` gave and a step changed."""
        put(self.g, g, self.g_unit or "1")

    def _plain(self, value: Any) -> Any:
        if self.g_unit is None or not is_quantity(value):
            return plain(value)
        return mantissa(value, self.g_unit, what=f"the input of {type(self).__name__}")
