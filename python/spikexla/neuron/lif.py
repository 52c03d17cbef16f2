"""LIF: leaky integrate-and-fire neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import surrogate
from ..dynamics import Size, put
from ..module import Batch
from ..ops.neuron_kernel import NeuronKernel
from ..state import ShortTermState, has_tracer
from ..units import attach, is_quantity, mantissa
from . import lif_step
from .base import Neuron


class LIF(Neuron):
    """Leaky integrate-and-fire: `tau dV/dt = V_rest - V + R I`, a spike where `V >= V_th`.

    in_size: number of neurons, or a tuple. R in ohm, tau in ms, the potentials in mV; each may be a
    number, an array that broadcasts to `in_size`, a quantity, an initialiser, or a ParamState to be
    learned. V_reset and V_initializer default to V_rest. spk_fun, spk_reset: see `Neuron`.

    State: `V`, `(*batch, *in_size)` in mV; a quantity if a potential was given as one.

    Exponential Euler, exact for a current that is constant over the step (Rotter, Diesmann 1999).

    Errors: ValueError for `tau <= 0`, `V_th <= V_reset`, NaN, no neurons, an unknown `spk_reset`;
    TypeError for a unit of another dimension.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> neuron = sx.LIF(3, tau=10.0, V_th=1.0)
    >>> neuron(30.0).tolist(), neuron.V.value.shape
    ([0.0, 0.0, 0.0], (3,))
    """

    R: Any
    tau: Any
    V_th: Any
    V_rest: Any
    V_reset: Any

    def __init__(
        self,
        in_size: Size,
        R: Any = 1.0,
        tau: Any = 5.0,
        V_th: Any = 1.0,
        V_reset: Any = None,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        spk_fun: Callable[[Any], Any] = surrogate.DEFAULT,
        spk_reset: str = "soft",
        name: str | None = None,
    ) -> None:
        super().__init__(in_size, name, spk_fun=spk_fun, spk_reset=spk_reset)
        self._set_parameter("R", R, "ohm")
        self._set_parameter("tau", tau, "ms")
        self._set_parameter("V_th", V_th, "mV")
        self._set_parameter("V_rest", V_rest, "mV")
        self._set_parameter("V_reset", self.V_rest if V_reset is None else V_reset, "mV")
        self.V_initializer = self.V_rest if V_initializer is None else V_initializer
        self._check()
        self.init_state()

    def _check(self) -> None:
        for name in ("R", "V_th", "V_rest", "V_reset"):
            self._require(name, np.isfinite, "it must be a finite number")
        self._require("tau", lambda x: x > 0, "a time constant must be positive")
        self._check_threshold("V_rest")

    def _check_threshold(self, default: str) -> None:
        V_th, V_reset = self._number("V_th"), self._number("V_reset")
        if not has_tracer((V_th, V_reset)) and not np.all(np.asarray(V_th) > np.asarray(V_reset)):
            raise ValueError(
                f"{self._called('V_th')} is {np.min(V_th)} mV and V_reset {np.max(V_reset)} mV; "
                f"the threshold must be above the reset potential (by default {default}). Raise "
                "V_th or lower V_reset"
            )

    # -- states -------------------------------------------------------------------------------

    def init_state(self, batch_size: Batch = None) -> None:
        if not self._start_again(batch_size):
            V, unit = self._start(self.V_initializer, "mV", "V_initializer", batch_size)
            values = (getattr(self, name) for name in ("V_th", "V_rest", "V_reset"))
            unit = unit or any(is_quantity(getattr(v, "value", v)) for v in values)
            self.V = ShortTermState(attach(V, "mV") if unit else V)
            self._note_start(self.V_initializer, batch_size, self.V)
        self._reset_inputs()

    def kernel_state(self) -> Any:
        return lif_step.State(self._potential())

    def set_kernel_state(self, state: Any) -> None:
        put(self.V, state.V, "mV")

    def _potential(self, V: Any = None) -> jax.Array:
        V = self.V.value if V is None else V
        return jnp.asarray(mantissa(V, "mV", what=self._called("V")))

    # -- equations ----------------------------------------------------------------------------

    def kernel(self, conductance: bool) -> NeuronKernel:
        return lif_step.LIF_COBA if conductance else lif_step.LIF

    def derived(self, dt: Any, conductance: bool) -> Any:
        return lif_step.Params(*self._constants(dt, conductance))

    def _constants(self, dt: Any, conductance: bool) -> Any:
        tau, R, V_rest = self._numbers()
        dt = mantissa(dt, "ms", what="dt")
        expm1 = np.expm1 if isinstance(tau, np.ndarray) else jnp.expm1
        rate = dt / tau if conductance else -expm1(-dt / tau)
        V_th, V_reset = self._number("V_th"), self._number("V_reset")
        dtype = self._potential().dtype
        values = (rate, R, V_rest, V_th, V_reset, 1 / (V_th - V_reset))
        return [jnp.asarray(x, dtype) for x in values]

    def _numbers(self) -> tuple[Any, ...]:
        """The time constant, the resistance, and the potential without input."""
        return self._number("tau"), self._number("R"), self._number("V_rest")

    def get_spike(self, V: Any = None) -> jax.Array:
        V = self._potential(V)
        V_th, V_reset = self._number("V_th"), self._number("V_reset")
        scale = 1 / (V_th - V_reset)
        return self.spk_fun((V - jnp.asarray(V_th, V.dtype)) * jnp.asarray(scale, V.dtype))

    def after_reset(self) -> jax.Array:
        V = self._potential()
        V_th, V_reset = (jnp.asarray(self._number(name), V.dtype) for name in ("V_th", "V_reset"))
        fall = (jax.lax.stop_gradient(V) if self.spk_reset == "hard" else V_th) - V_reset
        return V - fall * self.get_spike()
