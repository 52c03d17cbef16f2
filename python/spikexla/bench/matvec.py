"""Spikes through 80 synapses each, 0.2 % active, inside a loop: what does one delivery cost?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..connect import fixed_num_post
from ..ops.spike_matvec import spike_matvec
from . import sparse
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (4_000, 40_000, 400_000)
QUICK_SIZES = (4_000,)
FAN_OUT, ACTIVE = 80, 0.002
MOST_STEPS = 1_000
WORK = 4_000_000  # neurons times steps: small enough to count in float32, exactly


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each number of neurons; times are per step."""
    for n in sizes:
        steps = max(5, min(MOST_STEPS, WORK // n) // (10 if plan.quick else 1))
        conn = fixed_num_post(n, n, FAN_OUT, seed=1)
        spikes = jnp.asarray(np.random.default_rng(0).random((steps, n)) < ACTIVE)
        loops, counts = {}, {}
        for name, (data, deliver) in _competitors(conn).items():
            run = jax.jit(_scan(deliver, n))
            received = run(data, spikes)
            counts[name] = float(np.asarray(received, np.float64).sum())
            if not np.array_equal(received, _expected(conn, spikes)):
                counts[name] = float("nan")
            loops[name] = _loop(run, data, spikes)
        samples = interleave(loops, plan)
        fired = float(jnp.count_nonzero(spikes)) / steps
        yield Row(
            case=f"N={n:,} K={FAN_OUT}, per step",
            samples={name: s.times(1 / steps) for name, s in samples.items()},
            # Spikes are read; per synapse an index is read and a sum read and written.
            moved=int(n + fired * FAN_OUT * 12),
            counts=counts,
            error=disagreement("received spikes", counts),
        )


def _competitors(conn):
    """Name -> (arrays, deliver(arrays, spikes, y))."""
    rows = sparse.with_spare_row(conn.indices, conn.n_post)
    return {
        NATIVE: (conn, lambda c, s, y: spike_matvec(c, 1.0, s, init=y, backend="native")),
        "reference": (conn, lambda c, s, y: spike_matvec(c, 1.0, s, init=y, backend="xla")),
        "nonzero chunks": (rows, lambda rows, s, y: sparse.nonzero_chunks(rows, 1.0, s, y)),
        "segment_sum": (
            conn.indices,
            lambda indices, s, y: sparse.every_synapse(indices, 1.0, s, y),
        ),
    }


def _scan(deliver, n):
    def run(data, spikes):
        zero = jnp.zeros(n, jnp.float32)
        return jax.lax.scan(lambda y, s: (deliver(data, s, y), None), zero, spikes)[0]

    return run


def _expected(conn, spikes) -> np.ndarray:
    """What each target receives over all steps, counted by numpy."""
    times = np.count_nonzero(np.asarray(spikes), axis=0)
    targets = np.asarray(conn.indices).reshape(-1)
    return np.bincount(targets, np.repeat(times, FAN_OUT), conn.n_post)


def _loop(run, data, spikes):
    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(run(data, spikes))

    return loop
