"""`spikexla bench <suite>`: the benchmarks from the command line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

SUITES = ("step", "scan", "grad", "reset", "matvec", "network", "state")
BUSY = 1.0  # load average from which figures are worth little: one core is taken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `spikexla bench`."""
    parser.add_argument("suite", choices=SUITES, help="what to measure")
    parser.add_argument("--json", metavar="FILE", help="also write machine and rows to FILE")
    parser.add_argument("--quick", action="store_true", help="small sizes, few and short timings")
    parser.add_argument(
        "--sizes",
        type=_size,
        nargs="+",
        metavar="N",
        help="numbers of neurons (of states in `state`), e.g. 1e6",
    )


def run(args: argparse.Namespace) -> int:
    """Runs one suite, prints its table; 1 if a row's competitors did not do the same work."""
    from . import machine, report, timing

    suite = importlib.import_module(f"{__package__}.{args.suite}")
    plan = timing.QUICK if args.quick else timing.Plan()
    sizes = args.sizes or (suite.QUICK_SIZES if args.quick else suite.SIZES)
    about = machine.describe()
    print(f"spikexla bench {args.suite}: {(suite.__doc__ or '').strip().splitlines()[0]}")
    print(
        f"{about['cpu']}, {about['cores']} cores, {about['simd']}; {about['device']}; "
        f"jax {about['versions']['jax']}, Python {about['python']}; load {about['load_average']}"
    )
    if (about["load_average"] or 0) > BUSY:
        print(f"Other work runs on this machine (load {about['load_average']}): rely on no figure.")
    rows = []
    for row in suite.rows(sizes, plan):
        print(f"  measured {row.case}", file=sys.stderr, flush=True)
        rows.append(row)
    print(report.table(rows))
    print(report.LEGEND)
    if args.json:
        report.write_json(args.json, args.suite, rows, plan=plan)
    return 1 if any(row.error for row in rows) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (default: the program's own arguments) spells."""
    parser = argparse.ArgumentParser(prog="spikexla bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _size(text: str) -> int:
    try:
        value = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        value = 0.0
    if not (1 <= value < 2**31 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of neurons, such as 1000 or 1e6")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
