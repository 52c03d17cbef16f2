"""What every subcommand shares: option types, errors for the user, checks before any work."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

BACKENDS = ("native", "xla")
MOST = 2**31 - 1  # neurons, steps, epochs: what 32-bit indices count
MOST_SEED = 2**63 - 1  # what a key of jax is made of

_POOL_SIZES = ("PJRT_NPROC", "NPROC")  # XLA reads the first that is a number, at its start
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
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default 0")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="compiled kernels or pure JAX (default: SPIKEXLA_BACKEND, else native)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="use at most N threads")
    add_output_options(parser)


def add_output_options(parser: Parser) -> None:
    """`--json`, and what `add_debug` adds."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    add_debug(parser)


def add_debug(parser: Parser) -> None:
    """The hidden `--debug`, which every subcommand has."""
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)


def positive(text: str) -> int:
    """An integer of 1 or more."""
    return _integer(text, 1, MOST)


def seed(text: str) -> int:
    """An integer that a random stream can start from."""
    return _integer(text, 0, MOST_SEED)


def at_least_zero(text: str) -> float:
    """A finite number of 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return number


def _integer(text: str, least: int, most: int) -> int:
    try:
        number = int(text.replace("_", ""))
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    if number > most:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {most}, the most it can be")
    return number


def duration(text: str) -> float:
    """A positive time in ms, out of '1s', '500ms', '0.5 s'; a bare number is in ms.

    >>> duration("0.5 s")
    500.0
    """
    ms = _milliseconds(text)
    if not 0.0 < ms < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive time; write it as 1s, 500ms or 0.1ms"
        )
    return ms


def warm_up(text: str) -> float:
    """A time of 0 or more, written like a `duration`."""
    ms = _milliseconds(text)
    if not 0.0 <= ms < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time of 0 or more; write it as 1s, 500ms or 0"
        )
    return ms


def _milliseconds(text: str) -> float:
    found = _DURATION.fullmatch(text.lower())
    unit = (found[2] if found else "") or "ms"
    try:
        return (float(found[1]) if found else math.nan) * _UNITS.get(unit, math.nan)
    except ValueError:
        return math.nan


def check_time(option: str, ms: float, dt: float) -> None:
    """UserError for a time that is no whole number of steps, or of more than can be made."""
    from ..steps import whole_steps

    steps = ms / dt
    if round(min(steps, MOST)) < 1:
        raise UserError(
            f"{option} {ms:g}ms is shorter than one step of {dt:g}ms; there is nothing to simulate."
        )
    if steps > MOST:
        raise UserError(
            f"{option} {ms:g}ms is {steps:.3g} steps of {dt:g}ms; at most {MOST} can be made. "
            "Simulate less time, or take a longer step."
        )
    if whole_steps(ms, dt) is None:
        raise UserError(
            f"{option} {ms:.10g}ms is no whole number of steps of {dt:g}ms. Take for example "
            f"{round(steps) * dt:.10g}ms."
        )


def file_name(text: str) -> str:
    """The name of a file or folder to write to."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def require(*names: str) -> list[ModuleType]:
    """Imports optional packages; UserError with the way to install them when one is missing."""
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, and something that it needs is not
            raise UserError(
                f"this needs the package {name.partition('.')[0]}, which is not installed. "
                "Install it with `pip install 'spikexla[all]'`."
            ) from error
    return modules


def limit_threads(threads: int | None) -> None:
    """Limits XLA's thread pool, when nothing has run yet, and that of the compiled kernels."""
    if threads is None:
        return
    from ..bench.machine import cores
    from ..ops.library import LibraryError, native

    threads = min(threads, cores())  # more of them only wait, and each has a stack
    for name in _POOL_SIZES:
        os.environ[name] = str(threads)

    try:
        native().set_thread_limit(threads)
    except LibraryError:  # pure JAX does without; `choose_backend` says so where it matters
        return


def start_jax() -> list[Any]:
    """The devices of jax; UserError if it has none."""
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # an assertion without words, of some versions
        wanted = os.environ.get("JAX_PLATFORMS")
        asked = f" of JAX_PLATFORMS={wanted}" if wanted else ""
        reason = " ".join(str(error).split()) or "the platform is not there"
        raise UserError(
            f"jax cannot start a device{asked}: {reason}. JAX_PLATFORMS=cpu uses the processor."
        ) from error


def current_backend() -> str:
    """The backend of those who name none; UserError if SPIKEXLA_BACKEND names an unknown one."""
    from .. import backend

    try:
        return backend.current()
    except ValueError as error:
        raise UserError(str(error)) from None


@contextlib.contextmanager
def choose_backend(name: str | None) -> Iterator[None]:
    """A `with` block of this backend, or of the current one; fails if that cannot start."""
    from .. import backend

    with backend(name or current_backend()):
        start_jax()
        if backend.current() == "native":
            from ..ops.library import native

            native()
        yield


def threads_in_use() -> int:
    """How many threads a kernel may use: one a processor, or fewer by `--threads`."""
    from ..bench.machine import cores
    from ..ops.library import LibraryError, native

    most = min(cores(), _pool_size(cores()))
    try:
        return min(most, native().thread_limit())
    except LibraryError:
        return most


def _pool_size(default: int) -> int:
    """The threads of XLA's pool, out of the variables that XLA reads, as it reads them."""
    for name in _POOL_SIZES:
        try:
            return max(1, int(os.environ[name]))
        except (KeyError, ValueError):
            continue
    return default


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
