"""What the tests of spike files share: chunks to write, and a disk whose power can fail."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import numpy as np
from spikexla import disk
from spikexla.network import journal
from spikexla.network.sonata import read_spikes
from spikexla.network.spikefile import SpikeFile

SIZES = {"E": 1000, "I": 100}
SECTOR = 512


def chunk(k, most=300):
    """The spikes of chunk k, from 10 k to 10 k + 10 ms: the same in every process."""
    draw, trains = np.random.default_rng(k), {}
    for name, size in SIZES.items():
        n = int(draw.integers(0, most))
        times = np.sort(draw.uniform(10.0 * k, 10.0 * k + 10.0, n))
        trains[name] = times, draw.integers(0, size, n)
    return trains


def append(file, k, most=300):
    file.append(chunk(k, most), 10.0 * (k + 1))


def chunks_in(path, most=300):
    """How many whole chunks the file has; AssertionError where it has anything else."""
    found = read_spikes(path)
    k = 0
    total = dict.fromkeys(SIZES, 0)
    while any(total[name] < len(found[name].node_ids) for name in SIZES):
        for name, (times, ids) in chunk(k, most).items():
            mine = slice(total[name], total[name] + len(ids))
            np.testing.assert_array_equal(found[name].times_ms[mine], times)
            np.testing.assert_array_equal(found[name].node_ids[mine], ids)
            total[name] += len(ids)
        k += 1
    return k


def holds(path, done, most=300):
    """The file has the first `done` chunks or one more, and can be gone on with."""
    first = chunks_in(path, most)
    with SpikeFile(path, SIZES, append=True) as file:
        k = round(file.start_ms / 10.0)
        assert done <= k <= done + 1, f"{done} chunks were acknowledged, {k} are there"
        assert first <= k  # chunks may be empty
        append(file, k, most)
    assert chunks_in(path, most) <= k + 1
    with SpikeFile(path, SIZES, append=True) as file:
        assert round(file.start_ms / 10.0) == k + 1
    assert not os.path.exists(os.fspath(path) + journal.SUFFIX)


class Power:
    """Notes what goes to the disk, and says what may be there when the power fails."""

    def __init__(self, monkeypatch):
        self.log = []  # (operation, file, arguments)
        for name in ("write", "truncate", "sync"):
            monkeypatch.setattr(disk, name, self._noted(name, getattr(disk, name)))
        monkeypatch.setattr(disk, "remove", self._removed(disk.remove))

    def _noted(self, name, do):
        def noted(handle, *args):
            where = os.readlink(f"/proc/self/fd/{handle}")
            self.log.append(
                (name, where, *(bytes(a) if name == "write" and a is args[0] else a for a in args))
            )
            do(handle, *args)

        return noted

    def _removed(self, do):
        def removed(path):
            self.log.append(("remove", os.path.realpath(path)))
            do(path)

        return removed

    def say(self, done):
        """So many chunks were acknowledged."""
        self.log.append(("done", "", done))

    def fail(self, at, start, folder, draw, killed):
        """The files as they are when operation `at` does not end; the chunks acknowledged.

        start: {file: bytes}. killed: the process ends and the system goes on, so that all before
        is there; else, of what nobody waited for, any sectors.
        """
        done = 0
        there = {path: bytearray(data) for path, data in start.items()}
        waiting = {path: [] for path in there}
        for op, path, *args in self.log[:at]:
            if op == "done":
                done = args[0]
            elif op == "sync":
                for earlier in waiting[path]:
                    _do(there, path, *earlier)
                waiting[path] = []
            else:
                waiting.setdefault(path, []).append((op, *args))
                there.setdefault(path, bytearray())
        if at < len(self.log) and self.log[at][0] == "write":
            _, path, data, offset = self.log[at]
            waiting[path].append(("write", data[: draw.integers(len(data) + 1)], offset))
        for path, operations in waiting.items():
            for operation in operations:
                _do(there, path, *operation, draw=None if killed else draw)
        for path, data in there.items():
            if data is not None:
                (Path(folder) / Path(path).name).write_bytes(data)
        return done


def _do(there, path, op, *args, draw=None):
    """Does one operation on the bytes of a file; with `draw`, a part of it, or nothing."""
    if op == "remove":
        if draw is None or draw.random() < 0.5:
            there[path] = None
        return
    data = there[path]
    if data is None:
        return
    if op == "truncate":
        if draw is None or draw.random() < 0.5:
            del data[args[0] :]
            data.extend(bytes(args[0] - len(data)))
        return
    new, at = args
    cuts = range(at - at % SECTOR, at + len(new), SECTOR)
    kept = np.ones(len(cuts), bool) if draw is None else draw.random(len(cuts)) < draw.random()
    for start, keep in zip(cuts, kept, strict=True):
        first, last = max(start, at), min(start + SECTOR, at + len(new))
        if keep and last > first:
            data.extend(bytes(max(0, last - len(data))))
            data[first:last] = new[first - at : last - at]


def session(path, power, chunks, most=300):
    """Writes `chunks` chunks to a new file; the files as they were before the first."""
    with SpikeFile(path, SIZES) as file:
        start = {os.path.realpath(path): path.read_bytes()}
        start[os.path.realpath(path) + journal.SUFFIX] = b""
        power.log.clear()
        for k in range(chunks):
            append(file, k, most)
            power.say(k + 1)
    return start


def fork():
    """os.fork without the warning that threads are not in the child, which uses none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def killed(path, wait, most=300):
    """Appends in a child until it is killed after `wait` s: the chunks that it acknowledged."""
    out, into = os.pipe()
    if (child := fork()) == 0:
        try:
            file = SpikeFile(path, SIZES, append=True)
            k = round(file.start_ms / 10.0)
            while True:
                os.write(into, b"%8d" % k)
                append(file, k, most)
                k += 1
        finally:
            os._exit(7)
    os.close(into)
    with os.fdopen(out, "rb") as told:
        first = told.read(8)
        assert first, "the file could not be gone on with"
        signal.sigtimedwait([], wait)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return int((first + told.read())[-8:])
