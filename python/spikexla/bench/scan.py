"""A layer over 1000 steps, input (T, N) and spikes (T, N): what does fusing the time loop give?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import apart, models
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (100, 1_000, 10_000, 100_000)
QUICK_SIZES = (100, 1_000)
STEPS = 1_000
LARGE = 100_000  # from here on the results are fresh memory in every call
BYTES = 8  # per neuron and step: the input is read, the spike written


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each size, and a second one, with malloc that keeps memory, for large results."""
    for n in sizes:
        goal = 5.0 if n >= LARGE else 0.95
        yield _row(n, "", measure(n, plan), goal)
        if n >= LARGE:
            yield _row(n, f", {apart.NOTE}", apart.measure_apart("scan", n, plan), goal)


def measure(n: int, plan: Plan) -> dict[str, Any]:
    """Times and spike counts of all competitors, here and now."""
    current, V = models.currents((STEPS, n)), jnp.zeros(n, jnp.float32)
    jitted = {
        NATIVE: jax.jit(models.op_scan("native")),
        "reference": jax.jit(models.op_scan("xla")),
        "hand-written": jax.jit(models.hand_scan),
    }
    spikes = {k: int(jnp.count_nonzero(f(V, current)[1])) for k, f in jitted.items()}
    loops = {name: _loop(f, V, current) for name, f in jitted.items()}
    return {"samples": interleave(loops, plan), "spikes": spikes}


def _row(n: int, malloc: str, found: dict[str, Any], goal: float) -> Row:
    return Row(
        case=f"T={STEPS:,} N={n:,}{malloc}",
        samples=found["samples"],
        moved=BYTES * n * STEPS,
        counts=found["spikes"],
        goal=goal,
        error=disagreement("spikes", found["spikes"]),
    )


def _loop(f, V, current):
    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(f(V, current))

    return loop
