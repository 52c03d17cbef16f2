"""`spikexla bench`: runs one suite of benchmarks and prints its table."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

from .options import Parser, UserError, add_debug, current_backend, file_name, start_jax
from .output import staged_folder

SUITES = ("step", "scan", "grad", "reset", "matvec", "network", "state", "levels")
BUSY = 1.0  # load average from which figures are worth little: one core is taken


def add_parser(commands: Any) -> None:
    """Adds `bench` to the command line."""
    parser: Parser = commands.add_parser(
        "bench",
        help="compare the kernels with pure JAX",
        description="Runs one suite: times the kernels and pure JAX on the same inputs, compares "
        "what they counted, and exits with 1 if they did not do the same work.",
    )
    parser.add_argument("suite", choices=SUITES, help="what to measure")
    parser.add_argument(
        "--json", type=file_name, metavar="FILE", help="also write machine and rows to FILE"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few and short timings")
    parser.add_argument(
        "--sizes",
        type=_size,
        nargs="+",
        metavar="N",
        help="numbers of neurons (of states in `state`), e.g. 1e6",
    )
    parser.add_argument(
        "--against",
        type=_simulators,
        metavar="NAMES",
        help="with `network`: beside the other simulators of a list such as brainpy,brian2,nest "
        "that are installed, instead of pure JAX",
    )
    add_debug(parser)
    parser.set_defaults(run=run)


def run(options: Any) -> int:
    """Runs one suite, prints its table; 1 if a row's competitors did not do the same work."""
    if options.against and options.suite != "network":
        raise UserError(f"--against is an option of the suite network, not of {options.suite}.")
    current_backend()
    start_jax()
    with contextlib.ExitStack() as stack:
        file = None
        if options.json is not None:
            path = Path(options.json)
            stage = staged_folder("--json", str(path.parent), [path.name])
            file = stack.enter_context(stage) / path.name
        return _measure(options, file)


def _measure(options: Any, file: Path | None) -> int:
    from ..bench import machine, report, timing

    below = ".against" if options.against else ""
    suite = importlib.import_module(f"..bench{below}.{options.suite}", __package__)
    beside = [_installed(options.against)] if options.against else []
    plan = timing.QUICK if options.quick else timing.Plan()
    sizes = options.sizes or (suite.QUICK_SIZES if options.quick else suite.SIZES)
    about = machine.describe()
    print(f"spikexla bench {options.suite}: {(suite.__doc__ or '').strip().splitlines()[0]}")
    print(
        f"{about['cpu']}, {about['cores']} cores, {about['simd']}; {about['device']}; "
        f"jax {about['versions']['jax']}, Python {about['python']}; load {about['load_average']}"
    )
    if (about["load_average"] or 0) > BUSY:
        print(f"Other work runs on this machine (load {about['load_average']}): rely on no figure.")
    rows = []
    for row in suite.rows(*beside, sizes, plan):
        print(f"  measured {row.case}", file=sys.stderr, flush=True)
        rows.append(row)
    print(report.table(rows))
    print(getattr(suite, "LEGEND", report.LEGEND))
    if file is not None:
        report.write_json(file, options.suite, rows, plan=plan)
    return 1 if any(row.error for row in rows) else 0


def _simulators(text: str) -> list[str]:
    from ..bench.against.simulators import named

    try:
        return named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _installed(names: list[str]) -> list[str]:
    """Those that can be measured; says how to install the others, UserError if there are none."""
    from ..bench.against.simulators import SIMULATORS, is_installed

    missing = [name for name in names if not is_installed(name)]
    hints = [
        f"{SIMULATORS[name].title} is not installed: pip install {SIMULATORS[name].packages}"
        for name in missing
    ]
    if len(missing) == len(names):
        raise UserError(f"--against finds no simulator. {'; '.join(hints)}")
    for hint in hints:
        print(hint)
    return [name for name in names if name not in missing]


def _size(text: str) -> int:
    try:
        value = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        value = 0.0
    if not (1 <= value < 2**31 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of neurons, such as 1000 or 1e6")
    return int(value)
