"""Backpropagation through 100 steps: value and gradient of the mean spike in the input.

Two rows: as Python starts, and in a process whose malloc keeps freed memory. Without that, page
faults of fresh arrays are a large part of what pure JAX takes, and the ratio flatters the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import apart, models
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (512,)
QUICK_SIZES = (32,)
STEPS, BATCH = 100, 128
NOISE = 1e-4  # relative: gradients are summed in different orders


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """Two rows for each size: default malloc, and malloc that keeps memory."""
    for n in sizes:
        yield _row(n, "", measure(n, plan), 4.0)
        yield _row(n, f", {apart.NOTE}", apart.measure_apart("grad", n, plan), 2.0)


def measure(n: int, plan: Plan) -> dict[str, Any]:
    """Times, spike counts and gradient norms of all competitors, here and now."""
    current = models.currents((STEPS, BATCH, n))
    V = jnp.zeros((BATCH, n), jnp.float32)
    scans = {
        NATIVE: models.op_scan("native"),
        "reference": models.op_scan("xla"),
        "hand-written": models.hand_scan_with_gradient,
    }
    jitted = {name: jax.jit(_value_and_grad(scan, V)) for name, scan in scans.items()}
    spikes, norms = {}, {}
    for name, f in jitted.items():
        mean, d_current = f(current)
        spikes[name], norms[name] = (
            round(float(mean) * current.size),
            float(jnp.linalg.norm(d_current)),
        )
    loops = {name: _loop(f, current) for name, f in jitted.items()}
    samples = interleave(loops, plan)
    return {"samples": samples, "spikes": spikes, "norms": norms}


def _value_and_grad(scan, V):
    """The mean is the count of spikes too: below 2^24 a float32 holds it exactly."""
    return jax.value_and_grad(lambda current: scan(V, current)[1].mean())


def _row(n: int, malloc: str, found: dict[str, Any], goal: float) -> Row:
    error = disagreement("spikes", found["spikes"])
    return Row(
        case=f"T={STEPS} B={BATCH} N={n}{malloc}",
        samples=found["samples"],
        # Input read twice, spikes written, their cotangent read, the gradient written.
        moved=5 * 4 * STEPS * BATCH * n,
        counts=found["spikes"],
        goal=goal,
        error=error or disagreement("gradient norms", found["norms"], within=NOISE),
    )


def _loop(f, current):
    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(f(current))

    return loop
