"""The command `spikexla`: finds the subcommand, and turns every failure into one clear line.

Subcommands load what they need when they run: jax reads the number of threads when it starts its
devices, so `--threads` has to be known before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import bench, info, simulate, train, validate
from .options import Parser, UserError
from .output import open_streams

INTERRUPTED, UNREAD = 130, 141  # what shells expect after Ctrl-C, and of a pipe without a reader


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    0; 1 for a failure, 2 for a bad request, 130 for Ctrl-C, 141 when nobody reads what it prints.

    >>> main(["--version"])                                               # doctest: +SKIP
    spikexla 0.1.0
    0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    open_streams()
    try:
        options = parser().parse_args(argv)
        code = options.run(options)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt as stop:
        kept = f": {stop}" if str(stop) else ""
        return _fail(f"interrupted{kept}", INTERRUPTED)
    except BrokenPipeError:  # whoever reads this, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except Exception as error:
        if "--debug" in argv:
            raise
        if isinstance(error, UserError) or type(error).__name__ == "LibraryError":
            return _fail(str(error), 2)
        reason = " ".join(str(error).split()) or "no more is known"
        return _fail(f"{type(error).__name__}: {reason} (--debug shows where)", 1)


def _fail(message: str, code: int) -> int:
    print(f"spikexla: {message}", file=sys.stderr)
    return code


def parser() -> Parser:
    """The parser of all options; it loads nothing heavy."""
    top = Parser(
        prog="spikexla",
        description="Spiking neural networks in JAX with fused C++ and CUDA kernels.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = top.add_subparsers(metavar="COMMAND", required=True, dest="command")
    simulate.add_parser(commands)
    train.add_parser(commands)
    info.add_parser(commands)
    bench.add_parser(commands)
    validate.add_parser(commands)
    return top


class _Version(info.Action):
    """`--version`."""

    def __call__(self, *_: object) -> None:
        print(f"spikexla {info.version('spikexla')}")
        raise SystemExit(0)
