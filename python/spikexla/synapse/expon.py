"""Expon: a conductance that jumps with spikes and decays exponentially."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..dynamics import Size, put
from ..module import Batch
from ..ops.rounded import rounded
from ..state import ShortTermState
from ..units import attach, is_quantity, mantissa
from .base import Synapse, plain, unit_name


class Expon(Synapse):
    """Exponential synapse: `tau dg/dt = -g`, and spikes add their weights to `g`.

    in_size: number of targets, or a tuple. tau in ms: number, array, quantity, initialiser or
    ParamState. g_initializer: what g starts from; a quantity makes g carry its unit (siemens, or
    mA or mV for a current).

    State: `g`, `(*batch, *in_size)`. A step decays g by `exp(-dt / tau)`, then adds the jumps in
    the order in which they came.

    Errors: ValueError for `tau <= 0` and NaN; TypeError for a unit of another dimension.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> synapse = sx.Expon(2, tau=5.0)
    >>> synapse.add_delta_input("spikes", jax.numpy.array([0.0, 1.0]))
    >>> synapse().tolist()
    [0.0, 1.0]
    """

    def __init__(
        self, in_size: Size, tau: Any = 8.0, g_initializer: Any = 0.0, name: str | None = None
    ) -> None:
        super().__init__(in_size, name)
        self._set_parameter("tau", tau, "ms")
        self._require("tau", lambda x: x > 0, "a time constant must be positive")
        self.g_initializer = g_initializer
        self.init_state()

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

    def decay(self, dt: Any) -> jax.Array:
        """`exp(-dt / tau)`, what a step multiplies g by."""
        tau, dt = self._number("tau"), mantissa(dt, "ms", what="dt")
        exp = np.exp if isinstance(tau, np.ndarray) else jnp.exp
        return jnp.asarray(exp(-dt / tau), self.kernel_state().dtype)

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
        return mantissa(value, self.g_unit, what="the input of Expon")
