"""Expon: a conductance that jumps with spikes and decays exponentially."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dynamics import Size
from ..units import mantissa
from .decaying import Decaying


class Expon(Decaying):
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

    def decay(self, dt: Any) -> jax.Array:
        """`exp(-dt / tau)`, what a step multiplies g by."""
        tau, dt = self._number("tau"), mantissa(dt, "ms", what="dt")
        exp = np.exp if isinstance(tau, np.ndarray) else jnp.exp
        return jnp.asarray(exp(-dt / tau), self.kernel_state().dtype)
