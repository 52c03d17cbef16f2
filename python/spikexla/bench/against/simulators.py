"""Which other simulators can be measured, and how to ask them: a program, a request, an answer.

The programs `run_*.py` import nothing of this package. Each reads one JSON object from stdin, and
the last line that it prints is another: `walls` (s of each run, without building), `spikes` (of
each run) and `version`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Simulator(NamedTuple):
    """How a simulator is called, what it needs to be imported, and what pip installs it by."""

    title: str
    modules: tuple[str, ...]
    packages: str


SIMULATORS = {
    "brainpy": Simulator("brainpy.state", ("brainpy", "numba"), "brainpy numba"),
    "brian2": Simulator("Brian2", ("brian2",), "'brian2>=2.10'"),
    "nest": Simulator("NEST", ("nest",), "nest-simulator"),
}
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC", "PJRT_NPROC")


class SimulatorError(RuntimeError):
    """A simulator that is there and did not do what it was asked."""


def named(text: str) -> list[str]:
    """The simulators in a list such as 'brian2,nest'; ValueError for one that is not known."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SIMULATORS:
            known = ", ".join(SIMULATORS)
            raise ValueError(f"{name!r} is no simulator to compare with; there are {known}")
    return list(dict.fromkeys(names))


def is_installed(name: str) -> bool:
    """Whether this Python finds all that the simulator needs."""
    return all(map(importlib.util.find_spec, SIMULATORS[name].modules))


def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """What the program of this simulator answers.

    Errors: SimulatorError with the last line that the program printed if it fails.
    """
    program = Path(__file__).with_name(f"run_{name}.py")
    limits = dict.fromkeys(THREADS, str(request["threads"]))
    done = subprocess.run(
        [sys.executable, "-P", str(program)],  # -P: this folder is not searched for modules
        input=json.dumps(request), env=os.environ | limits,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise SimulatorError(f"{SIMULATORS[name].title} ended with {done.returncode}: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
