"""Brunel: the sparsely connected excitatory-inhibitory network of Brunel (2000)."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from .. import environ
from ..comm import EventDrawn
from ..connect import FixedInDegree
from ..connect.base import check_seed, count
from ..module import Module
from ..neuron import IafPscExp
from ..projection import AlignPostProj, PoissonInput
from ..units import mantissa
from .coba import seeds_of
from .mean_field import self_consistent_rate

# Brunel, "Dynamics of sparsely connected networks of excitatory and inhibitory spiking neurons",
# J Comput Neurosci 8:183 (2000), section 2.
TAU, THETA, T_REF = 20.0, 20.0, 2.0  # ms, mV, ms
CONNECTED, DELAY = 0.1, 1.5  # the probability epsilon; ms

# (g, eta) and the state of the network there: figure 8.
REGIMES = {
    "SR": (3.0, 2.0),  # synchronous regular
    "SI fast": (6.0, 4.0),  # synchronous irregular, with a fast oscillation
    "AI": (5.0, 2.0),  # asynchronous irregular
    "SI slow": (4.5, 0.9),  # synchronous irregular, with a slow oscillation
}


def _number(name: str, value: Any, unit: str = "1") -> float:
    number = np.asarray(mantissa(value, unit, what=f"Brunel: {name}"))
    if number.shape or number.dtype.kind not in "iuf":
        raise TypeError(f"Brunel: {name}={value!r} must be one real number.")
    if not 0 <= number < math.inf:
        raise ValueError(f"Brunel: {name}={value!r} must be 0 or more, and finite.")
    return float(number)


class Brunel(Module):
    """`4 order` excitatory and `order` inhibitory neurons with delta synapses, Poisson driven.

    Each has synapses from a tenth of either kind, drawn with replacement, of J and -g J mV, after
    1.5 ms; and as many external Poisson sources as excitatory synapses, at `eta` times the rate
    that would bring V to the threshold on average. (g, eta) is the regime, `network.brunel.REGIMES`
    has those of the paper. order=2500 is its size; rates depend on the size, since J does not. V
    starts at 0. V_reset: 10 mV as in the paper; NEST's examples have 0. `update` makes one step of
    dt, which must be set before the network is made, and returns the spikes.

    Errors: ValueError for an order below 10, a g, eta or J that is negative or not finite, J = 0,
    and a dt above 1.5 ms; TypeError for a g, eta or J that is no number; those of IafPscExp and
    PoissonInput.

    Source: Brunel, J Comput Neurosci 8:183 (2000); NEST's brunel_delta_nest.py.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> net = sx.network.Brunel(order=50, g=5.0, eta=2.0)
    >>> sx.simulate(net, 20.0).path
    'network_run'
    """

    def __init__(
        self,
        order: int = 2500,
        *,
        g: float = 5.0,
        eta: float = 2.0,
        J: float = 0.1,
        V_reset: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        order = count("order", order, least=10)
        g, eta, J = _number("g", g), _number("eta", eta), _number("J", J, "mV")
        if J == 0:
            raise ValueError(f"Brunel: J={J} must be above 0: the drive is counted in it.")
        dt = environ.get_dt_ms()
        if dt > DELAY:
            raise ValueError(
                f"Brunel: dt = {dt:g} ms is longer than its delay of {DELAY} ms. Set a shorter one."
            )
        noise, excitatory, inhibitory = seeds_of(check_seed(seed))
        self.order, self.ne, self.n = order, 4 * order, 5 * order
        self.g, self.eta, self.J = g, eta, J
        # Before the neurons: these refuse an order that memory for neurons would be sought for.
        comms = self._comm(self.ne, J, excitatory), self._comm(order, -g * J, inhibitory)
        self.N = IafPscExp(self.n, tau_m=TAU, E_L=0.0, V_th=THETA, V_reset=V_reset, t_ref=T_REF)
        self.E, self.I = (
            AlignPostProj(comm=comm, delay=DELAY, **self.N.delta_receptor()) for comm in comms
        )
        self.noise = PoissonInput(
            rate=self.external_hz, weight=J, seed=noise, **self.N.delta_receptor()
        )

    def _comm(self, sources: int, weight: float, seed: int) -> EventDrawn:
        rule = FixedInDegree(round(CONNECTED * sources))
        return EventDrawn(sources, self.n, rule, weight, seed=seed)

    @property
    def external_hz(self) -> float:
        """The events that each neuron gets from outside, from all its sources."""
        return self.eta * 1e3 * THETA / (self.J * TAU)

    def mean_field_hz(self) -> float:
        """The rate of the stationary state in the diffusion approximation.

        Simulated rates are within a few percent of it where the state is asynchronous.
        """
        ce, ci = (round(CONNECTED * n) for n in (self.ne, self.order))
        return self_consistent_rate(
            mean=lambda hz: self.J * TAU * 1e-3 * (self.external_hz + hz * (ce - self.g * ci)),
            variance=lambda hz: (
                self.J**2 * TAU * 1e-3 * (self.external_hz + hz * (ce + self.g**2 * ci))
            ),
            tau=TAU,
            t_ref=T_REF,
            threshold=THETA,
            reset=float(self.N._number("V_reset")),
        )

    def update(self, inp: Any = None) -> jax.Array:
        """One step with the current `inp` in pA, by default none."""
        spk = self.N.get_spike() != 0.0
        self.E(spk[..., : self.ne])
        self.I(spk[..., self.ne :])
        self.noise()
        return self.N(inp)
