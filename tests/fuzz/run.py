"""Searches for a case that breaks a law: `python tests/fuzz/run.py --seconds 600 --seed 7`.

A law is a file `fuzz_<what>.py` beside this one with a function `case(rng)`: it draws one case from
the generator and raises AssertionError, with the drawn values in its message, where the law does
not hold. Case k of seed s is the same on every machine, but for `interrupt`, which goes by the
clock; `--case k` runs it alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")  # as the tests have it, before jax is imported
HERE = Path(__file__).parent
LAWS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def search(what: str, seed: int, seconds: float, only: int | None) -> tuple[int, int]:
    """Runs cases of one law until the time is over or one fails: (passed, failed)."""
    law = importlib.import_module(f"fuzz_{what}")
    end = time.monotonic() + seconds
    k = only or 0
    while True:
        try:
            law.case(np.random.default_rng([seed, k]))
        except Exception:
            traceback.print_exc()
            print(f"{what}: case {k} failed; python {sys.argv[0]} {what} --seed {seed} --case {k}")
            return k if only is None else 0, 1
        k += 1
        if only is not None or time.monotonic() > end:
            return k if only is None else 1, 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "laws", nargs="*", metavar="WHAT", help=f"of {', '.join(LAWS)}; default all"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="shared by the laws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this case only")
    options = parser.parse_args()
    unknown = sorted(set(options.laws) - set(LAWS))
    if unknown:
        parser.error(f"there is no law {', '.join(unknown)}; there are {', '.join(LAWS)}")
    laws = options.laws or LAWS
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    passed = failed = 0
    for what in laws:
        good, bad = search(what, options.seed, options.seconds / len(laws), options.case)
        print(f"{what}: {good} cases hold, {bad} fails", flush=True)
        passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
