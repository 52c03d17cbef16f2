"""IafPscExp: NEST's iaf_psc_exp, with the synapses outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import surrogate
from ..dynamics import Size
from ..synapse.base import SynOut
from ..synapse.cuba import CUBA
from ..synapse.delta import Delta
from ..synapse.expon import Expon
from ..units import attach, mantissa
from .base import Neuron
from .lif_ref import LIFRef

PA_PER_MA = 1e9


class IafPscExp(LIFRef):
    """NEST's `iaf_psc_exp`: `C_m dV/dt = -C_m (V - E_L) / tau_m + I_e + I_syn + x`, a spike where
    `V >= V_th`, then V is V_reset for t_ref.

    Parameters as in NEST: pF, ms, mV, ms, pA; numbers, arrays, quantities or ParamStates. The
    currents of synapses come from projections, `AlignPostProj(comm=..., **neurons.receptor(2.0))`,
    with weights in pA, and decay with their own time constants. The step is exact for them and for
    a current x (in pA) that is constant over the step (Rotter & Diesmann 1999), as in NEST, with
    NEST's timing: a projection without delay is NEST's with the delay 0, which NEST has not; one of
    `delay=1.5` is NEST's of 1.5 ms. t_ref is rounded up to whole steps. With `delta_receptor()` it
    is NEST's `iaf_psc_delta`, with the same delays.

    States: those of LIFRef. V shows the potential that crossed the threshold in the step of the
    spike; `V_m` shows V_reset there, as NEST does.

    Errors: ValueError for `C_m <= 0`, `tau_m <= 0`, `t_ref < 0`, `V_th <= V_reset`, NaN; TypeError
    for a unit of another dimension and for conductances (this model has currents only).

    Source: NEST 3.9, models/iaf_psc_exp.cpp; the C++ kernel is that of LIFRef.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> neurons = sx.IafPscExp(2, I_e=250.0)
    >>> for _ in range(100):
    ...     spikes = neurons()
    >>> round(float(neurons.V_m[0]), 3)  # -70 + 10 (1 - 1 / e)
    -63.679
    """

    current_unit = "pA"

    C_m: Any
    tau_m: Any
    E_L: Any
    t_ref: Any
    I_e: Any

    def __init__(
        self,
        in_size: Size,
        C_m: Any = 250.0,
        tau_m: Any = 10.0,
        E_L: Any = -70.0,
        V_th: Any = -55.0,
        V_reset: Any = -70.0,
        t_ref: Any = 2.0,
        I_e: Any = 0.0,
        V_initializer: Any = None,
        spk_fun: Callable[[Any], Any] = surrogate.DEFAULT,
        name: str | None = None,
    ) -> None:
        Neuron.__init__(self, in_size, name, spk_fun=spk_fun, spk_reset="hard")
        given = {"C_m": (C_m, "pF"), "tau_m": (tau_m, "ms"), "E_L": (E_L, "mV")}
        given |= {"V_th": (V_th, "mV"), "V_reset": (V_reset, "mV")}
        given |= {"t_ref": (t_ref, "ms"), "I_e": (I_e, "pA")}
        for parameter, (value, unit) in given.items():
            self._set_parameter(parameter, value, unit)
            self._require(parameter, np.isfinite, "it must be a finite number")
        self._require("C_m", lambda x: x > 0, "a capacitance must be positive")
        self._require("tau_m", lambda x: x > 0, "a time constant must be positive")
        self._require("t_ref", lambda x: x >= 0, "a refractory period is 0 or longer")
        self._check_threshold("E_L")
        self.V_initializer = self.E_L if V_initializer is None else V_initializer
        self.init_state()

    @property
    def V_rest(self) -> Any:
        """E_L."""
        return self.E_L

    @property
    def V_m(self) -> Any:
        """The potential as NEST shows it: V_reset in the step of a spike. mV."""
        V = self._potential()
        V_th, V_reset = (jnp.asarray(self._number(name), V.dtype) for name in ("V_th", "V_reset"))
        shown = jnp.where(V >= V_th, V_reset, V)
        return attach(shown, "mV") if self.carries_unit else shown

    def receptor(self, tau: Any) -> dict[str, Any]:
        """The `syn`, `out` and `post` of a projection whose currents decay with `tau` (ms).

        Projections onto receptors of equal `tau` share one synapse; NEST's tau_syn_ex and
        tau_syn_in are two receptors.

        >>> import spikexla as sx
        >>> neurons = sx.IafPscExp(50)
        >>> comm = sx.EventFixedProb(100, 50, 0.1, 87.8, seed=1)
        >>> excitatory = sx.AlignPostProj(comm=comm, **neurons.receptor(0.5))
        """
        return {"syn": Expon.desc(self.in_size, tau=tau), "out": CUBA.desc(), "post": self}

    def delta_receptor(self) -> dict[str, Any]:
        """The `syn`, `out` and `post` of a projection whose spikes move V by their weights (mV).

        V jumps at the end of the step that a spike arrives in, and that is `delay` after the spike,
        as in NEST's `iaf_psc_delta`; dt is the shortest delay, which a projection without one has.
        What arrives while V is held is lost.

        >>> import spikexla as sx
        >>> neurons = sx.IafPscExp(50)
        >>> comm = sx.EventFixedProb(100, 50, 0.1, 0.2, seed=1)
        >>> excitatory = sx.AlignPostProj(comm=comm, **neurons.delta_receptor())
        """
        return {"syn": Delta.desc(self.in_size), "out": CUBA.desc(), "post": self}

    def derived(self, dt: Any, conductance: bool) -> Any:
        hold = self._steps_up("t_ref", dt)  # counted from the end of the spike's step
        return self._params(mantissa(dt, "ms", what="dt"), conductance, hold)

    def _numbers(self) -> tuple[Any, ...]:
        C_m, tau_m, E_L, I_e = map(self._number, ("C_m", "tau_m", "E_L", "I_e"))
        R = tau_m / C_m  # GOhm: pA to mV
        return tau_m, R, E_L + R * I_e

    def port_value(self, syn: Any, out: SynOut, dt: Any) -> Any:
        """The constant current over a step, in pA, that moves V as far as 1 of g that decays.

        With P21 the propagator of NEST, this is `scale P21 / (gain R)`; for Delta, P21 is 1.
        """
        if not isinstance(out, CUBA):
            raise TypeError(
                f"{type(self).__name__} takes currents, but a projection has the output "
                f"{type(out).__name__}. Give it CUBA(), or conductances to a LIFRef."
            )
        if type(syn) is Delta:
            value = out.scale_mantissa * self._jumping(dt)
            return jnp.asarray(value, self._potential().dtype)
        value = out.scale_mantissa * (PA_PER_MA if out.gives_ampere else 1.0)
        if syn is not None:
            value = value * self._decaying(syn, dt)
        return jnp.asarray(value, self._potential().dtype)

    def _jumping(self, dt: Any) -> Any:
        """`1 / (gain R)`."""
        tau_m, C_m = self._number("tau_m"), self._number("C_m")
        xp: Any = np if all(isinstance(x, np.ndarray) for x in (tau_m, C_m)) else jnp
        return C_m / tau_m / -xp.expm1(-mantissa(dt, "ms", what="dt") / tau_m)

    def _decaying(self, syn: Any, dt: Any) -> Any:
        """`P21 / (gain R)`; P21 = (dt / C_m) exp(-dt / tau_m) (1 - exp(-z)) / z, z = dt / tau_syn -
        dt / tau_m, which needs no case for equal time constants but the limit at z = 0."""
        if type(syn) is not Expon:
            raise TypeError(
                f"{type(self).__name__} integrates the currents of Expon exactly, but a projection "
                f"has the synapse {type(syn).__name__}. Give it Expon or Delta."
            )
        dt = mantissa(dt, "ms", what="dt")
        tau, tau_m = syn._number("tau"), self._number("tau_m")
        xp: Any = np if all(isinstance(x, np.ndarray) for x in (tau, tau_m)) else jnp
        leak = dt / tau_m
        z = dt / tau - leak
        small = abs(z) < 1e-9
        safe = xp.where(small, 1.0, z)
        ratio = xp.where(small, 1 - z / 2, -xp.expm1(-safe) / safe)
        return leak * xp.exp(-leak) * ratio / -xp.expm1(-leak)
