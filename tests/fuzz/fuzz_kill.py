"""A spike file loses nothing that was acknowledged: killed by the system, or cut off from power."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from unittest import mock

from spikefile_cases import SIZES, Power, append, holds, killed, session
from spikexla import disk
from spikexla.network import journal, spikefile

KILLS, FAILURES = 10, 10  # in a case
# A killed process leaves the system and its memory: a folder in memory is as good, and quick.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class _Patch:
    """`setattr` as pytest's monkeypatch has it."""

    def __init__(self, stack):
        self._stack = stack

    def setattr(self, where, name, value):
        self._stack.enter_context(mock.patch.object(where, name, value))


def case(rng):
    most = int(rng.choice([3, 60, 300, 2000]))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        patch = _Patch(stack)
        for where, name, values in (
            (spikefile, "CHUNK", [16, 64, 1024]),
            (journal, "FEW", [0, 6000, 1 << 20]),
            (journal, "FULL", [0, 40_000, 1 << 20]),
        ):
            patch.setattr(where, name, int(rng.choice(values)))
        drawn = f"most={most}, CHUNK={spikefile.CHUNK}, FEW={journal.FEW}, FULL={journal.FULL}"
        try:
            _kill(folder / "killed.h5", rng, most)
            _cut(folder, rng, most, patch)
        except Exception as error:
            raise AssertionError(drawn) from error


def _kill(path, rng, most):
    with spikefile.SpikeFile(path, SIZES) as file:
        append(file, 0, most)
    for _ in range(KILLS):
        holds(path, killed(path, float(rng.exponential(0.01)), most), most)


def _cut(folder, rng, most, patch):
    with contextlib.ExitStack() as stack:
        power = Power(_Patch(stack))
        start = session(folder / "spikes.h5", power, int(rng.integers(2, 8)), most)
    for name in ("sync", "sync_folder"):  # the power is back
        patch.setattr(disk, name, lambda where: None)
    for k in range(FAILURES):
        there = folder / str(k)
        there.mkdir()
        at, was_killed = int(rng.integers(len(power.log) + 1)), bool(rng.random() < 0.3)
        done = power.fail(at, start, there, rng, was_killed)
        try:
            holds(there / "spikes.h5", done, most)
        except Exception as error:
            raise AssertionError(f"power failed at operation {at}, killed={was_killed}") from error
