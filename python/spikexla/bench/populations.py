"""A network of many small parts, whose first call is timed: small populations, four times as many
sparse projections.  Beside ours, the same step written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import comm, nn
from ..neuron import LIF
from ..projection import AlignPostProj
from ..synapse import COBA, Expon

N = 20  # neurons of each population
PROB, WEIGHT, DRIVE = 0.1, 0.6, 20.0
TAU, TAU_SYN, V_TH, V_REST, E = 20.0, 5.0, -50.0, -60.0, 0.0


def pairs(populations: int) -> list[tuple[int, int]]:
    """(source, target) of each projection: every population projects onto four."""
    return [(k, (7 * k + 3 * j + 1) % populations) for k in range(populations) for j in range(4)]


class Populations(nn.Module):
    """The network in our parts."""

    def __init__(self, populations: int) -> None:
        super().__init__()
        self.cells = [LIF(N, tau=TAU, V_th=V_TH, V_rest=V_REST) for _ in range(populations)]
        self.projections = [
            AlignPostProj(
                comm=comm.EventFixedProb(N, N, PROB, WEIGHT, seed=k),
                syn=Expon.desc(N, tau=TAU_SYN),
                out=COBA.desc(E=E),
                post=self.cells[post],
            )
            for k, (_, post) in enumerate(pairs(populations))
        ]

    def update(self) -> list[jax.Array]:
        spikes = [cell.get_spike() for cell in self.cells]
        wiring = zip(pairs(len(self.cells)), self.projections, strict=True)
        for (pre, _), projection in wiring:
            projection(spikes[pre])
        return [cell(DRIVE) for cell in self.cells]


def by_hand(populations: int, dt: float) -> Callable[[], Any]:
    """One step of the network as a user of JAX writes it, with its synapses as matrices."""
    draw = np.random.default_rng(0)
    links = [
        (pre, post, jnp.asarray(WEIGHT * (draw.random((N, N)) < PROB), jnp.float32))
        for pre, post in pairs(populations)
    ]

    def step(Vs: list, gs: list) -> tuple[list, list, list]:
        spikes = [jnp.where(V >= V_TH, 1.0, 0.0) for V in Vs]
        gs = [g * np.exp(-dt / TAU_SYN) for g in gs]
        for pre, post, weights in links:
            gs[post] = gs[post] + spikes[pre] @ weights
        Vs = [
            V + dt / TAU * (V_REST - V + DRIVE + g * (E - V)) - z * (V_TH - V_REST)
            for V, g, z in zip(Vs, gs, spikes, strict=True)
        ]
        return Vs, gs, [jnp.where(V >= V_TH, 1.0, 0.0) for V in Vs]

    start = [jnp.full(N, V_REST, jnp.float32)] * populations, [jnp.zeros(N)] * populations
    compiled = jax.jit(step)
    return lambda: compiled(*start)
