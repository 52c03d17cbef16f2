"""A layer over 1000 steps, input (T, N) and spikes (T, N): what does fusing the time loop give?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from . import models
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (100, 1_000, 10_000, 100_000)
QUICK_SIZES = (100, 1_000)
STEPS = 1_000
BYTES = 8  # per neuron and step: the input is read, the spike written


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each size."""
    for n in sizes:
        current, V = models.currents((STEPS, n)), jnp.zeros(n, jnp.float32)
        jitted = {
            NATIVE: jax.jit(models.op_scan("native")),
            "reference": jax.jit(models.op_scan("xla")),
            "hand-written": jax.jit(models.hand_scan),
        }
        counts = {k: int(jnp.count_nonzero(f(V, current)[1])) for k, f in jitted.items()}
        loops = {name: _loop(f, V, current) for name, f in jitted.items()}
        yield Row(
            case=f"T={STEPS:,} N={n:,}",
            samples=interleave(loops, plan),
            moved=BYTES * n * STEPS,
            counts=counts,
            goal=5.0 if n >= 100_000 else 0.95,
            error=disagreement("spikes", counts),
        )


def _loop(f, V, current):
    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(f(V, current))

    return loop
