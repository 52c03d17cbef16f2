"""COBANet: the benchmark network with conductances of Vogels and Abbott (2005), driven."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from ..comm import EventFixedNumConn
from ..connect.base import check_seed, count, require_memory
from ..init import Normal
from ..module import Module
from ..neuron import LIFRef
from ..projection import AlignPostProj
from ..synapse import COBA, Expon

TARGETS = 80  # of each neuron


@dataclasses.dataclass(frozen=True)
class StartPotential:
    """Initial potentials, normal with mean -55 and deviation 2 mV, the same for the same seed."""

    seed: int

    def __call__(self, shape: tuple[int, ...]) -> jax.Array:
        return Normal(-55.0, 2.0)(shape, key=self.seed)


def seeds_of(seed: int) -> tuple[int, int, int]:
    """Seeds of a network's potentials, excitatory and inhibitory connections."""
    first = 3 * check_seed(seed)
    return first % 2**63, (first + 1) % 2**64, (first + 2) % 2**64  # keys of jax have a sign


def check_size(n: int) -> int:
    """The number of neurons, at least one of them excitatory and one inhibitory.

    Errors: MemoryError, before anything is made, if their synapses do not fit.
    """
    n = count("n", n, least=2)
    require_memory(4 * TARGETS * n, f"the targets of {n} neurons")  # int32
    return n


class COBANet(Module):
    """`n` neurons, 80% excitatory; each has 80 random targets; a constant drive of 20 mV.

    Conductances of excitatory (+0.6, 5 ms, to 0 mV) and inhibitory (+6.7, 10 ms, to -80 mV)
    synapses are in units of the leak. Fires at about 21 Hz. `update` makes one step and returns
    the spikes.

    >>> net = COBANet(4000, seed=1)
    """

    def __init__(self, n: int = 4000, *, seed: int = 0) -> None:
        super().__init__()
        potentials, excitatory, inhibitory = seeds_of(seed)
        n = check_size(n)
        self.n, self.ne, self.drive = n, n * 4 // 5, 20.0
        self.N = LIFRef(
            n,
            tau=20.0,
            tau_ref=5.0,
            V_th=-50.0,
            V_reset=-60.0,
            V_rest=-60.0,
            V_initializer=StartPotential(potentials),
            spk_reset="hard",
        )
        self.E = AlignPostProj(
            comm=EventFixedNumConn(self.ne, n, TARGETS, 0.6, seed=excitatory),
            syn=Expon.desc(n, tau=5.0),
            out=COBA.desc(E=0.0),
            post=self.N,
        )
        self.I = AlignPostProj(
            comm=EventFixedNumConn(n - self.ne, n, TARGETS, 6.7, seed=inhibitory),
            syn=Expon.desc(n, tau=10.0),
            out=COBA.desc(E=-80.0),
            post=self.N,
        )

    def update(self, inp: Any = None) -> jax.Array:
        """One step with the current `inp` in mA, by default the drive."""
        spk = self.N.get_spike() != 0.0
        self.E(spk[..., : self.ne])
        self.I(spk[..., self.ne :])
        return self.N(self.drive if inp is None else inp)
