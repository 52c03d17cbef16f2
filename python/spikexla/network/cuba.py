"""CUBANet: the benchmark network with currents of Vogels and Abbott (2005)."""

from __future__ import annotations

from typing import Any

import jax

from ..comm import EventFixedNumConn
from ..module import Module
from ..neuron import LIFRef
from ..projection import AlignPostProj
from ..synapse import CUBA, Expon
from .coba import TARGETS, StartPotential, check_size, seeds_of


class CUBANet(Module):
    """`n` neurons, 80% excitatory, that rest above threshold; each has 80 random targets.

    Excitatory (+1.62 mV, 5 ms) and inhibitory (-9 mV, 10 ms) synapses are currents. Fires at about
    5.6 Hz. `update` makes one step and returns the spikes.

    >>> net = CUBANet(4000, seed=1)
    """

    def __init__(self, n: int = 4000, *, seed: int = 0) -> None:
        super().__init__()
        potentials, excitatory, inhibitory = seeds_of(seed)
        n = check_size(n)
        self.n, self.ne = n, n * 4 // 5
        self.N = LIFRef(
            n,
            tau=20.0,
            tau_ref=5.0,
            V_th=-50.0,
            V_reset=-60.0,
            V_rest=-49.0,
            V_initializer=StartPotential(potentials),
            spk_reset="hard",
        )
        self.E = AlignPostProj(
            comm=EventFixedNumConn(self.ne, n, TARGETS, 1.62, seed=excitatory),
            syn=Expon.desc(n, tau=5.0),
            out=CUBA.desc(scale=1.0),
            post=self.N,
        )
        self.I = AlignPostProj(
            comm=EventFixedNumConn(n - self.ne, n, TARGETS, -9.0, seed=inhibitory),
            syn=Expon.desc(n, tau=10.0),
            out=CUBA.desc(scale=1.0),
            post=self.N,
        )

    def update(self, inp: Any = None) -> jax.Array:
        """One step with the current `inp` in mA, by default none."""
        spk = self.N.get_spike() != 0.0
        self.E(spk[..., : self.ne])
        self.I(spk[..., self.ne :])
        return self.N(inp)
