"""The problems that the tests of `spike_matvec` share, and the sum that it must be."""

import jax.numpy as jnp
import numpy as np
from spikexla.connect import CSR, FixedFanOut, fixed_num_post, fixed_prob

BACKENDS = ["native", "xla"]
CONNS = {
    "fan_out": lambda: fixed_num_post(100, 70, 9, seed=1),
    "one target": lambda: fixed_num_post(65, 1, 5, seed=1),
    "long rows": lambda: fixed_num_post(9, 30, 700, seed=1),
    "no synapses a row": lambda: FixedFanOut(np.zeros((5, 0), np.int32), 3),
    "csr": lambda: fixed_prob(90, 110, 0.1, seed=2),
    "csr with empty rows": lambda: fixed_prob(300, 40, 0.01, seed=2),
    "csr without synapses": lambda: fixed_prob(33, 5, 0.0, seed=2),
    "no sources": lambda: CSR(np.zeros(1, np.int32), np.zeros(0, np.int32), 4),
    "no targets": lambda: FixedFanOut(np.zeros((4, 0), np.int32), 0),
}
SOME = ["fan_out", "csr"]
# A sum of n terms in another order differs by about n roundings of its largest partial sum.
RTOL = {"float32": 2e-5, "float64": 1e-12}


def problem(name, dtype, batch=(), *, scalar=False, density=0.3, seed=0):
    """(connectivity, weights, spikes, init) with spikes of several sizes."""
    rng = np.random.default_rng(seed)
    conn = CONNS[name]()
    weights = np.asarray(0.7 if scalar else rng.normal(size=conn.indices.shape), dtype)
    fired = rng.random((*batch, conn.n_pre)) < density
    spikes = np.asarray(fired * rng.normal(1, 0.3, fired.shape), dtype)
    init = np.asarray(rng.normal(size=(*batch, conn.n_post)), dtype)
    return conn, jnp.asarray(weights), jnp.asarray(spikes), jnp.asarray(init)


def synapses(conn):
    """(source, target) of every synapse, in order."""
    per_row = np.diff(conn.indptr) if isinstance(conn, CSR) else [conn.fan_out] * conn.n_pre
    return np.repeat(np.arange(conn.n_pre), per_row), np.asarray(conn.indices).ravel()


def in_order(conn, weights, spikes, init):
    """The contract, spelled out: one addition at a time, by source and then along the row."""
    source, target = synapses(conn)
    weights = np.broadcast_to(np.asarray(weights), conn.indices.shape).ravel()
    y = np.array(init)
    for item in np.ndindex(y.shape[:-1]):
        for i, j, w in zip(source, target, weights, strict=True):
            if spikes[item][i] != 0:
                y[item][j] = y[item][j] + spikes[item][i] * w
    return y


def same(a, b, dtype, scale=1.0):
    np.testing.assert_allclose(a, b, rtol=RTOL[dtype], atol=RTOL[dtype] * scale)
