"""Explicit state: what do States cost beside plain JAX and other packages, from import to step?

- call: a jitted function that adds 1 to each of N states of (16,), beside `jax.jit` of a dict of
  the same arrays, donated.
- eager: a loop, a gradient, a step outside of `jit`, beside the same inside.
- start: `init_all_states` and `reset_all_states` of a hundred modules.
- import, compile: the wait before the first step.

Other packages are measured where they are installed.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ, nn
from ..neuron import LIF
from ..state import ParamState, ShortTermState
from ..synapse import Expon
from ..transform import for_loop, grad, jit
from . import models, peers, populations
from .peers import Competitor
from .report import NATIVE, Row, disagreement
from .reset import Many
from .timing import Loop, Plan, interleave

SIZES = (1, 10, 50, 100)
QUICK_SIZES = (1, 10)
ELEMENTS = 16  # of each state
EXTRA = {1: 3e-6, 10: 4e-6, 50: 8e-6, 100: 12e-6}  # seconds over jax.jit
EAGER_EXTRA, EAGER_STEP = 20e-6, 60e-6
START, IMPORT, COMPILE = 0.5e-3, 0.35, 2.0
JAX, COMPILED = "jax", "compiled"
DT, BATCH, COUNTED = 0.1, 32, 3


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """Rows for each number of states, and those of the other questions."""
    for k, n in enumerate(sizes):
        yield replace(_call(n, plan), note="" if k else peers.measured())
    with environ.context(dt=DT):
        yield _eager_loop(plan)
        yield _eager_grad(plan)
        for kind in ("array", "float", "quantity", "alternating"):
            if kind in ("array", "float") or importlib.util.find_spec("brainunit"):
                yield _eager_step(kind, plan)
        yield _start("init_all_states", plan)
        yield _start("reset_all_states", plan)
        slow = replace(plan, rounds=min(plan.rounds, 5))
        yield _compile(slow)
        yield _import(slow)


# -- calls ----------------------------------------------------------------------------------------


class Counters(nn.Module):
    """N states that a step adds 1 to."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.counts = [ShortTermState(jnp.zeros(ELEMENTS, jnp.float32)) for _ in range(n)]

    def update(self) -> None:
        for count in self.counts:
            count.value = count.value + 1.0


def _call(n: int, plan: Plan) -> Row:
    made = {NATIVE: _ours(n), JAX: _donated_dict(n), **peers.counters(n, ELEMENTS)}
    return _row(
        f"call, {n} state{'s' * (n > 1)}", made, plan, extra=EXTRA.get(n), against=JAX, counted=True
    )


def _ours(n: int) -> Competitor:
    net = Counters(n)
    step = jit(lambda: net.update(), donate_states=True)
    return Competitor(step, lambda: [state.value for state in net.counts])


def _donated_dict(n: int) -> Competitor:
    step = jax.jit(lambda d: jax.tree.map(lambda x: x + 1.0, d), donate_argnums=0)
    kept = {"d": {f"s{k}": jnp.zeros(ELEMENTS, jnp.float32) for k in range(n)}}

    def call():
        kept["d"] = step(kept["d"])

    return Competitor(call, lambda: list(kept["d"].values()))


# -- outside of jit -------------------------------------------------------------------------------


def _eager_loop(plan: Plan) -> Row:
    xs = jnp.ones((10, ELEMENTS), jnp.float32)
    net, inside = Counters(1), Counters(1)
    compiled = jit(lambda xs: for_loop(lambda x: inside.update(), xs))
    made = {
        NATIVE: Competitor(
            lambda: for_loop(lambda x: net.update(), xs), lambda: [net.counts[0].value]
        ),
        COMPILED: Competitor(lambda: compiled(xs), lambda: [inside.counts[0].value]),
    }
    return _row("eager for_loop", made, plan, extra=EAGER_EXTRA, against=COMPILED, counted=True)


def _eager_grad(plan: Plan) -> Row:
    weight = ParamState(jnp.ones(ELEMENTS, jnp.float32))
    x = jnp.ones(ELEMENTS, jnp.float32)
    gradient = grad(lambda x: ((weight.value * x) ** 2).sum(), {"w": weight})
    compiled = jit(lambda x: gradient(x))
    made = {
        NATIVE: Competitor(lambda: gradient(x), lambda: [gradient(x)["w"]]),
        COMPILED: Competitor(lambda: compiled(x), lambda: [compiled(x)["w"]]),
    }
    return _row("eager grad", made, plan, extra=EAGER_EXTRA, against=COMPILED, counted=True)


def _eager_step(kind: str, plan: Plan) -> Row:
    neuron = LIF(100, tau=10.0)
    inputs: list[Any] = [jnp.full(100, 3.0, jnp.float32), 3.0]
    if kind in ("quantity", "alternating"):
        import brainunit

        inputs.append(inputs[0] * brainunit.mA)
    given = {"array": inputs[:1], "float": inputs[1:2], "quantity": inputs[2:]}.get(kind, inputs)
    for x in given:
        neuron(x)  # compiles
    turn = itertools.cycle(given)
    step, kept = jax.jit(models.hand_step), [jnp.zeros(100, jnp.float32)]

    def plain():
        kept[0], _ = step(kept[0], inputs[0])

    made = {
        NATIVE: Competitor(lambda: neuron(next(turn)), lambda: [neuron.V.value]),
        JAX: Competitor(plain, lambda: kept),
        **(peers.steps(100) if kind == "quantity" else {}),
    }
    return _row(f"eager LIF(100) step, {kind}", made, plan, limit=EAGER_STEP)


# -- starts ---------------------------------------------------------------------------------------


def _start(method: str, plan: Plan) -> Row:
    kinds = itertools.cycle((lambda: LIF(100), lambda: Expon(100)))
    net = Many(lambda: next(kinds)())
    states = list(net.states().values())
    start = functools.partial(getattr(nn, method), net, batch_size=BATCH)
    zeros = jax.jit(lambda xs: [jnp.zeros_like(x) for x in xs], donate_argnums=0, keep_unused=True)
    kept = [[jnp.ones((BATCH, 100), jnp.float32) for _ in states]]

    def plain():
        kept[0] = zeros(kept[0])

    made = {
        NATIVE: Competitor(start, lambda: [state.value for state in states]),
        JAX: Competitor(plain, lambda: kept[0]),
        **peers.starts(method, len(net.parts), 100, BATCH),
    }
    return _row(f"{method}, 100 modules", made, plan, limit=START)


# -- the wait before the first step ---------------------------------------------------------------


def _compile(plan: Plan) -> Row:
    """Times the first call of a network: trace, lower, compile and run once."""
    n = 5 if plan.quick else 50
    net = populations.Populations(n)
    makers = {
        NATIVE: lambda: jit(lambda: net.update()),
        JAX: lambda: populations.by_hand(n, DT),
        **peers.networks(n, DT),
    }
    loops = {column: _first_call(make) for column, make in makers.items()}
    case = f"compile {n} populations, {4 * n} projections"
    return Row(case, interleave(loops, plan), limit=COMPILE)


def _first_call(make: Callable[[], Callable[[], Any]]) -> Loop:
    def loop(calls: int) -> float:
        total = 0.0
        for _ in range(calls):
            function = make()
            start = time.perf_counter()
            jax.block_until_ready(function())
            total += time.perf_counter() - start
        return total

    return loop


def _import(plan: Plan) -> Row:
    """Times imports in processes of their own, each after that of jax."""
    names = {NATIVE: "spikexla", **peers.imports()}
    loops = {column: _import_loop("import jax", name) for column, name in names.items()}
    loops[JAX] = _import_loop("", "jax")
    return Row("import, after that of jax", interleave(loops, plan), limit=IMPORT)


def _import_loop(before: str, name: str) -> Loop:
    code = (
        f"{before}\nimport time; start = time.perf_counter()\n"
        f"import {name}; print('seconds', time.perf_counter() - start)"
    )

    def loop(calls: int) -> float:
        total = 0.0
        for _ in range(calls):
            ran = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            total += float(ran.stdout.rpartition("seconds")[2])
        return total

    return loop


def _row(
    case: str, made: dict[str, Competitor], plan: Plan, *, counted: bool = False, **bars: Any
) -> Row:
    counts = {name: _count(competitor) for name, competitor in made.items()} if counted else {}
    return Row(
        case,
        interleave({name: _loop(competitor) for name, competitor in made.items()}, plan),
        counts=counts,
        error=disagreement("sums", counts) if counted else None,
        **bars,
    )


def _count(competitor: Competitor) -> float:
    for _ in range(COUNTED):
        competitor.step()
    return sum(float(np.asarray(x).sum()) for x in competitor.values())


def _loop(competitor: Competitor) -> Loop:
    def loop(calls: int) -> None:
        for _ in range(calls):
            competitor.step()
        jax.block_until_ready(competitor.values())

    return loop
