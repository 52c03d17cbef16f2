"""What every subcommand shares: option types, errors for the user, checks before any work."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import re
from types import ModuleType
from typing import Any, NoReturn

BACKENDS = ("native", "xla")

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "min": 60e3}  # in ms
_DURATION = re.compile(r"\s*([^\s a-z]+(?:e[+-]?\d+)?|nan|inf)\s*([a-z]*)\s*")


class UserError(Exception):
    """A request that cannot be carried out: shown as one line, exit code 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, raised and not printed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # So that `--duration -1s` is a bad duration, and not a missing one and an option `-1`.
        self._negative_number_matcher = re.compile(r"-\.?\d.*")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See `{self.prog} --help`.")


def add_common(parser: Parser) -> None:
    """The options of every subcommand that computes."""
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="default 0")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="compiled kernels or pure JAX (default: SPIKEXLA_BACKEND, else native)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="use at most N threads")
    add_output_options(parser)


def add_output_options(parser: Parser) -> None:
    """`--json` and the hidden `--debug`, which every subcommand has."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)


def positive(text: str) -> int:
    """An integer of 1 or more."""
    return _integer(text, 1, "a whole number of 1 or more")


def natural(text: str) -> int:
    """An integer of 0 or more."""
    return _integer(text, 0, "a whole number of 0 or more")


def _integer(text: str, least: int, rule: str) -> int:
    try:
        number = int(text.replace("_", ""))
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not {rule}")
    return number


def duration(text: str) -> float:
    """A positive time in ms, out of '1s', '500ms', '0.5 s'; a bare number is in ms.

    >>> duration("0.5 s")
    500.0
    """
    found = _DURATION.fullmatch(text.lower())
    unit = (found[2] if found else "") or "ms"
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if unit not in _UNITS or not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive time; write it as 1s, 500ms or 0.1ms"
        )
    return number * _UNITS[unit]


def require(*names: str) -> list[ModuleType]:
    """Imports optional packages; UserError with the way to install them when one is missing."""
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            if error.name not in (None, name) and not str(error.name).startswith(f"{name}."):
                raise
            raise UserError(
                f"this needs the package {name.partition('.')[0]}, which is not installed. "
                "Install it with `pip install 'spikexla[all]'`."
            ) from error
    return modules


def limit_threads(threads: int | None) -> None:
    """Limits XLA's thread pool, when nothing has run yet, and that of the compiled kernels."""
    if threads is None:
        return
    for name in ("PJRT_NPROC", "NPROC"):  # read once, when jax starts its first device
        os.environ[name] = str(threads)
    from ..ops.library import LibraryError, native

    try:
        native().set_thread_limit(threads)
    except LibraryError:  # pure JAX does without; `choose_backend` says so where it matters
        return


def choose_backend(name: str | None) -> Any:
    """The backend setting, a context manager; fails now if its kernels cannot be loaded."""
    from .. import backend

    try:
        chosen = backend(name or backend.current())
    except ValueError as error:  # of SPIKEXLA_BACKEND: the option has its choices
        raise UserError(str(error)) from None
    if backend.current() == "native":
        from ..ops.library import LibraryError, native

        try:
            native()
        except LibraryError:
            chosen.__exit__()
            raise
    return chosen


def threads_in_use() -> int:
    """How many threads a kernel may use: one a processor, or fewer by `--threads`."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        available = os.cpu_count() or 1
    from ..ops.library import LibraryError, native

    limit = int(os.environ.get("PJRT_NPROC") or available)
    try:
        return min(available, limit, native().thread_limit())
    except LibraryError:
        return min(available, limit)


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
