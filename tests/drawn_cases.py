"""Networks of synapses drawn from every rule, in small."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import spikexla as sx
from spikexla.connect import (
    AllToAll,
    Distance,
    FixedInDegree,
    FixedOutDegree,
    FixedProb,
    FixedTotal,
    LogNormal,
    Normal,
    OneToOne,
)
from spikexla.init import Constant

N = 1300  # neurons of each population: enough for two slices, with an edge inside of a word
NEAR = Distance(np.linspace(0, 1, N), np.linspace(0, 1, N), lambda d: 0.05 * np.exp(-3 * d))
RULES = {
    "total": FixedTotal(20_000),
    "out": FixedOutDegree(17),
    "in": FixedInDegree(17),
    "prob": FixedProb(0.015),
    "all": AllToAll(),
    "one": OneToOne(),
    "near": NEAR,
}
WEIGHTS = {"law": Normal(60.0, 6.0, low=0.0), "number": 60.0, "init": Constant(60.0)}
DELAYS = {
    "law": Normal(1.5, 0.75, low=0.05, high=6.0),
    "tail": LogNormal(1.0, 0.4),
    "number": 0.7,
    "none": None,
    "a source": np.random.default_rng(3).uniform(0.0, 2.0, N),
}


class Net(sx.nn.Module):
    """Two populations; the first excites both, by synapses that are packed together."""

    def __init__(self, rule, weight, delay, **flags):
        super().__init__()
        V = [np.random.default_rng(k).uniform(-65.0, -50.0, N) for k in range(2)]
        self.cells = [sx.IafPscExp(N, I_e=450.0, V_initializer=jnp.asarray(x)) for x in V]
        self.comms = [
            sx.EventDrawn(N, N, rule, weight, delay=delay, seed=k, **flags) for k in range(2)
        ]
        its = zip(self.comms, self.cells, strict=True)
        self.projections = [sx.AlignPostProj(comm=c, **post.receptor(0.5)) for c, post in its]

    def update(self):
        spikes = self.cells[0].get_spike() != 0
        for projection in self.projections:
            projection(spikes)
        for cells in self.cells:
            cells()


def run(net, **how):
    """(spikes, potentials) of 40 steps."""
    result = sx.simulate(net, 4.0, **how)
    spikes = [x for s in result.spikes.values() for x in (s.steps, s.ids)]
    return [*map(np.asarray, spikes), *(np.asarray(c.V.value) for c in net.cells)]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
