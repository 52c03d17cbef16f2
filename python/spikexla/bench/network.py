"""COBA and CUBA networks: wall seconds per second of biology, beside a hand-written scan.

Every competitor runs the same targets from the same initial potentials. A row has two checks:

- over the first 20 ms the numbers of spikes are equal up to float32 threshold noise: they differ by
  at most 2 spikes or 0.01 %, whichever is more. The competitors round differently, so a potential
  within the last bits of the threshold may cross it a step earlier in one of them;
- over the whole window, where such differences have grown (the networks are chaotic), the rates
  differ by at most 5 %.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import environ, network, nn
from . import hand_network
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (4_000, 40_000, 400_000)
QUICK_SIZES = (4_000,)
HAND = "hand-written"
GOALS = {4_000: 5.0, 40_000: 12.0, 400_000: 7.0}  # COBA, against the hand-written
START_MS, SLACK, NOISE, RATE = 20.0, 2, 1e-4, 0.05
WORK = 8e7  # neurons times ms: the window is 1 s, and 0.2 s at 400,000
NETWORKS = {
    "COBA": (network.COBANet, hand_network.COBA),
    "CUBA": (network.CUBANet, hand_network.CUBA),
}


class Competitor(NamedTuple):
    """`reset()` goes back to time 0, `run(ms)` simulates; `count(ms)` also counts the spikes.

    `run` returns the seconds that it took without compiling, where it compiles, else None.
    """

    reset: Callable[[], object]
    run: Callable[[float], float | None]
    count: Callable[[float], int]


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each network and size."""
    plan = replace(plan, rounds=min(plan.rounds, 5))
    with environ.context(dt=hand_network.DT):
        for name in NETWORKS:
            for n in sizes:
                yield _row(name, n, plan)


def _row(name: str, n: int, plan: Plan) -> Row:
    window = min(1000.0, WORK / n) / (40 if plan.quick else 1)
    rivals = _competitors(name, n)
    first = {key: _count(rival, START_MS) for key, rival in rivals.items()}
    spikes = {key: _count(rival, window) for key, rival in rivals.items()}
    rates = {key: value / n / window * 1e3 for key, value in spikes.items()}
    samples = interleave(
        {key: lambda _, rival=rival: rival.run(window) for key, rival in rivals.items()},
        plan,
        before=lambda key: rivals[key].reset(),
    )
    noise = max(NOISE, SLACK / max(1, *first.values()))
    return Row(
        case=f"{name} N={n:,}",
        samples={key: s.times(1e3 / window) for key, s in samples.items()},
        counts=spikes,
        goal=GOALS.get(n) if name == "COBA" else None,
        against=HAND,
        error=disagreement(f"spikes of the first {START_MS:g} ms", first, within=noise)
        or disagreement("rates (Hz)", rates, within=RATE),
        note=f"per second of biology, measured over {window / 1e3:g} s; "
        + ", ".join(
            f"{key} {rate:.2f} Hz, {first[key]:,} spikes at first" for key, rate in rates.items()
        ),
    )


def _count(rival: Competitor, ms: float) -> int:
    rival.reset()
    return rival.count(ms)


def _competitors(name: str, n: int) -> dict[str, Competitor]:
    make, model = NETWORKS[name]
    net = make(n, seed=1)
    return {
        NATIVE: own(net, "native"),
        "reference": own(net, "xla"),
        HAND: _hand(net, model),
    }


def own(net: Any, backend: str) -> Competitor:
    """One of our networks in the hands of this backend."""

    def run(ms):
        begin = time.perf_counter()
        result = network.simulate(net, ms, record=False, backend=backend)
        jax.block_until_ready(net.N.V.value)
        return time.perf_counter() - begin - result.compile_s

    def count(ms):
        result = network.simulate(net, ms, backend=backend)
        return sum(len(spikes) for spikes in result.spikes.values())

    return Competitor(lambda: _restart(net), run, count)


def _restart(net: Any) -> None:
    nn.init_all_states(net)
    jax.block_until_ready(net.N.V.value)


def _hand(net: Any, model: hand_network.Model) -> Competitor:
    _restart(net)
    begin = jax.block_until_ready(hand_network.start(jax.numpy.copy(net.N.V.value)))
    rows = hand_network.targets(net.E.comm.conn.indices, net.I.comm.conn.indices, net.n)
    compiled = functools.cache(functools.partial(hand_network.runner, model))

    def run(ms):
        jax.block_until_ready(compiled(round(ms / hand_network.DT))(rows, begin))

    def count(ms):
        end = compiled(round(ms / hand_network.DT))(rows, begin)
        return int(np.asarray(end.count, np.int64).sum())

    return Competitor(lambda: None, run, count)
