"""One LIF step: does the native step keep up at small sizes and win at large ones?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from . import models
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (1_000, 100_000)
BYTES = 16  # per neuron: V and I are read, V and z written
COUNTED = 50  # steps over which spikes are compared


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """Rows for each size, with the state donated and not."""
    for n in sizes:
        for donated in (True, False):
            yield _row(n, donated, plan)


def goal(n: int, donated: bool) -> float:
    """The ratio this case is held to: a win where memory decides, nowhere a loss above 5 %."""
    if donated and n >= 10_000_000:
        return 2.5
    return 1.5 if donated and n >= 1_000_000 else 0.95


def _row(n: int, donated: bool, plan: Plan) -> Row:
    current = models.currents((n,))
    steps = {
        NATIVE: models.op_step("native"),
        "reference": models.op_step("xla"),
        "hand-written": models.hand_step,
    }
    donate = (0,) if donated else ()
    jitted = {name: jax.jit(step, donate_argnums=donate) for name, step in steps.items()}
    counts = {name: _count(step, current) for name, step in jitted.items()}
    loops = {name: _loop(step, current) for name, step in jitted.items()}
    return Row(
        case=f"N={n:,} {'donated' if donated else 'not donated'}",
        samples=interleave(loops, plan),
        moved=BYTES * n,
        counts=counts,
        goal=goal(n, donated),
        error=disagreement("spikes", counts),
    )


def _count(step, current) -> int:
    V, total = jnp.zeros_like(current), 0
    for _ in range(COUNTED):
        V, z = step(V, current)
        total += int(jnp.count_nonzero(z))
    return total


def _loop(step, current):
    """Calls one after the other without waiting, as a program does; waits for the last."""
    kept = [jnp.zeros_like(current)]

    def loop(calls):
        V, z = kept[0], None
        for _ in range(calls):
            V, z = step(V, current)
        jax.block_until_ready(z)
        kept[0] = V

    return loop
