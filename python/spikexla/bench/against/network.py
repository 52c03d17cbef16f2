"""COBA and CUBA networks: wall seconds per second of biology, beside other simulators.

Each simulator runs in a process of its own and draws a network of its own by the same laws: 80
random targets a neuron, potentials from N(-55, 2) mV, a delay of 0.1 ms. Building and compiling are
not counted. Every rate must lie within 10 % (15 % in the 0.2 s of --quick) of the mean of four of
ours: rates of networks of 4,000 drawn apart have a deviation of 4 % (5 %), while another weight,
drive or refractory time changes them by more.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ... import environ
from ...network.coba import TARGETS
from ...ops.library import native
from .. import machine
from ..network import NETWORKS, own
from ..report import NATIVE, Row, disagreement
from ..timing import Plan, Sample, interleave
from .simulators import SIMULATORS, SimulatorError, ask

SIZES = (4_000, 40_000)
QUICK_SIZES = (4_000,)
DT, DRAWN = 0.1, 4
WINDOW, QUICK_WINDOW = 1000.0, 200.0  # ms
RATE, QUICK_RATE = 0.10, 0.15
ROUNDS, BUDGET = 5, 60.0  # runs of each, begun within so many seconds
LEGEND = (
    "Times are medians (min-max) of runs in turn, simulator by simulator. ratio: fastest / native."
)


def rows(names: Sequence[str], sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each network and size, beside the simulators of these names."""
    with environ.context(dt=DT):
        for model in NETWORKS:
            for n in sizes:
                yield _row(model, n, names, replace(plan, rounds=min(plan.rounds, ROUNDS)))


def _row(model: str, n: int, names: Sequence[str], plan: Plan) -> Row:
    window = QUICK_WINDOW if plan.quick else WINDOW
    within = QUICK_RATE if plan.quick else RATE
    ours = own(NETWORKS[model][0](n, seed=1), "native")
    rates = {NATIVE: statistics.fmean(_rate(model, n, seed, window) for seed in range(DRAWN))}
    samples = interleave({NATIVE: lambda _: ours.run(window)}, plan, before=lambda _: ours.reset())
    request = {
        "model": model, "n": n, "targets": TARGETS, "ms": window, "dt": DT, "seed": 1,
        "threads": min(machine.cores(), native().thread_limit()),
        "rounds": plan.rounds, "budget_s": 0.0 if plan.quick else BUDGET,
    }  # fmt: skip
    failures, titles = [], []
    for name in names:
        title = SIMULATORS[name].title
        try:
            answer = ask(name, request)
        except SimulatorError as error:
            failures.append(str(error))
            continue
        titles.append(f"{title} {answer['version']}")
        samples[title] = _sample(answer["walls"])
        rates[title] = statistics.fmean(answer["spikes"]) / n / window * 1e3
    differ = disagreement("rates (Hz)", rates, within=within)
    listed = ", ".join(f"{key} {rate:.2f}" for key, rate in rates.items())
    return Row(
        case=f"{model} N={n:,}",
        samples={key: sample.times(1e3 / window) for key, sample in samples.items()},
        counts=rates,
        error="; ".join([*failures, *([differ] if differ else [])]) or None,
        note=f"per second of biology, measured over {window / 1e3:g} s; rates in Hz, held to "
        f"{within:.0%}: {listed}; beside {', '.join(titles) or 'none'}",
    )


def _rate(model: str, n: int, seed: int, window: float) -> float:
    """Spikes a second and neuron of one of our networks."""
    rival = own(NETWORKS[model][0](n, seed=seed), "native")
    rival.reset()
    return rival.count(window) / n / window * 1e3


def _sample(walls: Sequence[float]) -> Sample:
    return Sample(len(walls), 1, min(walls), statistics.median(walls), max(walls))
