"""`spikexla validate`: holds the statistics of a published network against reference values."""

from __future__ import annotations

import gc
import json
import math
import sys
from typing import Any

from .options import (
    MOST_SEED,
    Parser,
    UserError,
    add_common,
    check_time,
    choose_backend,
    duration,
    limit_threads,
    positive,
    require,
    threads_in_use,
    warm_up,
)

DT = 0.1  # ms, as in the literature
DRIVES = ("poisson", "dc")


def add_parser(commands: Any) -> None:
    """Adds `validate` to the command line."""
    parser: Parser = commands.add_parser(
        "validate",
        help="hold a network's statistics against reference values",
        description="Simulates the cortical microcircuit from several seeds and holds rates, "
        "irregularity and correlations of its populations against reference values of NEST. They "
        "agree if the means differ by at most 5 %% or two standard errors; exits with 1 if any "
        "does not. At full size it takes 7 GB, and about a minute a seed and drive on two cores.",
    )
    parser.add_argument("model", choices=("microcircuit",), help="the network")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="S",
        help="below 1 only rates are judged, which a small circuit misses (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--drive", choices=(*DRIVES, "both"), default="both",
        help="rates of each population are known for poisson, CVs and correlations for dc "
        "(default both)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="N", help="2 or more, from --seed (default 3)"
    )
    parser.add_argument(
        "--duration", type=duration, default=60e3, metavar="TIME",
        help="of each; CVs are judged from a minute on (default 60s)",
    )  # fmt: skip
    parser.add_argument(
        "--warmup", type=warm_up, default=500.0, metavar="TIME", help="not judged (default 500ms)"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: Any) -> int:
    """Simulates, judges and prints; 1 if a population does not agree."""
    _check(options)
    limit_threads(options.threads)
    require("elephant")
    from ..network.validation import judged, references

    drives = DRIVES if options.drive == "both" else (options.drive,)
    reports, agree = [], True
    for drive in drives:
        with choose_backend(options.backend):
            runs = [_measure(options, drive, options.seed + k) for k in range(options.seeds)]
        verdicts = judged(runs, references(drive, options.scale, options.duration))
        agree &= all(verdict.agrees for verdict in verdicts)
        reports.append(_report(options, drive, runs, verdicts))
        if not options.json:
            _show(options, drive, runs, verdicts)
    if options.json:
        print(json.dumps({"model": options.model, "agrees": agree, "drives": reports}))
    return 0 if agree else 1


def _check(options: Any) -> None:
    from ..network.statistics import BIN_MS

    if not 1e-3 <= options.scale <= 1:
        raise UserError(f"--scale {options.scale} must be a number from 0.001 to 1.")
    if options.seeds < 2:
        raise UserError("--seeds 1 has no standard error to judge by; take 2 or more.")
    if options.seed + options.seeds - 1 > MOST_SEED:
        raise UserError(f"--seed {options.seed} leaves no room for {options.seeds} seeds.")
    if options.duration < 2 * BIN_MS:
        raise UserError(
            f"--duration {options.duration:g}ms is too short: correlations need {2 * BIN_MS:g}ms."
        )
    check_time("--duration", options.duration, DT)
    if options.warmup:
        check_time("--warmup", options.warmup, DT)


def _measure(options: Any, drive: str, seed: int) -> dict[str, dict[str, float]]:
    """The statistics of one seed; nothing of its network stays in memory."""
    from .. import environ, network, random
    from ..network.validation import measured

    random.seed(seed)
    with environ.context(dt=DT):
        net = network.Microcircuit(options.scale, drive=drive, seed=seed)
        if options.warmup:
            network.simulate(net, options.warmup, record=False)
        result = network.simulate(net, options.duration)
    names = (population.name for population in net.populations)
    spikes = dict(zip(names, result.spikes.values(), strict=True))
    print(f"  {drive}, seed {seed}: {result.wall_s:.1f} s", file=sys.stderr, flush=True)
    del net
    gc.collect()
    return measured(spikes, result.duration_ms)


def _report(options: Any, drive: str, runs: list, verdicts: list) -> dict[str, Any]:
    return {
        "drive": drive,
        "scale": options.scale,
        "seeds": [options.seed + k for k in range(options.seeds)],
        "duration_s": options.duration / 1e3,
        "warmup_s": options.warmup / 1e3,
        "threads": threads_in_use(),
        "runs": [
            {
                quantity: {name: _number(x) for name, x in row.items()}
                for quantity, row in run.items()
            }
            for run in runs
        ],
        "verdicts": [
            {
                "quantity": v.quantity,
                "population": v.population,
                "mean": _number(v.mean),
                "sem": _number(v.sem),
                "reference": v.reference.mean,
                "reference_error": v.reference.error,
                "tolerance": v.tolerance,
                "agrees": v.agrees,
            }
            for v in verdicts
        ],
    }


def _number(x: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(x) else x


def _show(options: Any, drive: str, runs: list, verdicts: list) -> None:
    """A table for each quantity; what has no reference is printed without one."""
    from ..network.validation import TITLES, mean_and_sem

    print(
        f"cortical microcircuit, scale {options.scale:g}, {drive} drive: {options.seeds} seeds of "
        f"{options.duration / 1e3:g} s after {options.warmup / 1e3:g} s"
    )
    judged = {(v.quantity, v.population): v for v in verdicts}
    for quantity, title in TITLES.items():
        digits = 5 if quantity == "cc" else 3
        heads = ("measured", "SEM", "reference", "allowed", "verdict")
        print(f"\n{title:<20}" + "".join(f"{head:>11}" for head in heads))
        for population in runs[0][quantity]:
            verdict = judged.get((quantity, population))
            numbers = mean_and_sem([run[quantity][population] for run in runs])
            if verdict:
                numbers += (verdict.reference.mean, verdict.tolerance)
            cells = "".join(f"{number:>11.{digits}f}" for number in numbers)
            says = "" if verdict is None else "agrees" if verdict.agrees else "MISSES"
            print(f"  {population:<18}{cells}{says:>11}".rstrip())
    missed = sum(not v.agrees for v in verdicts)
    print(f"\n{len(verdicts) - missed} of {len(verdicts)} agree\n")
