"""Spike files: what was acknowledged stays, wherever it ends; one writer; no silent byte."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from spikefile_cases import SIZES, Power, append, chunk, chunks_in, fork, holds, killed, session
from spikexla import disk
from spikexla.network import journal, ledger, spikefile
from spikexla.network.sonata import read_spikes, write_spikes
from spikexla.network.spikefile import SpikeFile

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
DATA = Path(__file__).parent / "data"


@pytest.fixture
def small(monkeypatch):
    """Few bytes in each file, so that every branch is met by few spikes."""
    monkeypatch.setattr(spikefile, "CHUNK", 64)
    monkeypatch.setattr(journal, "FEW", 2500)
    monkeypatch.setattr(journal, "FULL", 15_000)


@pytest.mark.skipif(sys.platform != "linux", reason="the names of open files are read in /proc")
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "no power"])
def test_what_was_acknowledged_is_there_wherever_it_ends(tmp_path, monkeypatch, small, killed):
    """At each operation of the disk: 0 chunks lost, and the file goes on."""
    with monkeypatch.context() as patch:
        power = Power(patch)
        start = session(tmp_path / "spikes.h5", power, 6)
    operations = {entry[0] for entry in power.log}
    assert operations == {"write", "truncate", "sync", "remove", "done"}
    for name in ("sync", "sync_folder"):  # the power is back
        monkeypatch.setattr(disk, name, lambda where: None)
    draw, seen = np.random.default_rng(0), set()
    for at in range(len(power.log) + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        done = power.fail(at, start, folder, draw, killed)
        seen.add(done)
        holds(folder / "spikes.h5", done)
    assert seen == set(range(7))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here: nobody to kill")
def test_a_killed_process_loses_nothing(tmp_path, small):
    """Some of the kills that `fuzz_kill.py` does by thousands."""
    draw, path = np.random.default_rng(0), tmp_path / "spikes.h5"
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
    for _ in range(15):
        holds(path, killed(path, draw.uniform(0.0, 0.02)))


def test_an_append_that_is_interrupted_anywhere_adds_nothing(tmp_path, monkeypatch, small):
    """An exception in any operation of the disk: the chunk is not there, now and later."""
    path = tmp_path / "spikes.h5"
    at, ended = 0, 0
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
    while ended < 2:
        file = SpikeFile(path, SIZES, append=True)
        k, count = round(file.start_ms / 10.0), [0]
        with monkeypatch.context() as patch:
            for name in ("write", "truncate", "sync"):
                patch.setattr(disk, name, _raising(getattr(disk, name), count, at))
            try:
                append(file, k)
            except KeyboardInterrupt:
                assert chunks_in(path) == k
                with pytest.raises(ValueError, match="Open the file again"):
                    append(file, k)
                at += 1
            else:  # it has fewer operations
                at, ended, k = 0, ended + 1, k + 1
        file.close()
        with SpikeFile(path, SIZES, append=True) as file:
            assert round(file.start_ms / 10.0) == k
        assert chunks_in(path) == k


def _raising(do, count, at):
    def raising(*args):
        count[0] += 1
        if count[0] == at + 1:
            raise KeyboardInterrupt
        do(*args)

    return raising


PRESSED = """
import signal, sys
from spikexla.network import journal
from spikexla.network.sonata import read_spikes
from spikexla.network.spikefile import SpikeFile
path, sizes = sys.argv[1], {"E": 1000}
write, presses = journal.JournaledFile.write, []
def pressed(self, data):
    presses.append(signal.raise_signal(signal.SIGINT))
    return write(self, data)
for how in ("append", "close"):
    file = SpikeFile(path, sizes, append=True)
    if how == "append":
        file.append({"E": ([1.0], [3])}, 5.0)
    journal.JournaledFile.write = pressed
    try:
        file.append({"E": ([6.0], [4])}, 10.0) if how == "append" else file._file.flush()
        file.close()
    except KeyboardInterrupt:
        print("interrupted")
    journal.JournaledFile.write = write
    file.close()
print(len(presses) > 3, read_spikes(path)["E"].times_ms.tolist())
"""


def test_a_ctrl_c_while_hdf5_works_ends_the_append_and_not_the_process(tmp_path):
    """HDF5 does not survive an exception in what it calls: without a shield this is a SIGSEGV."""
    command = [sys.executable, "-c", PRESSED, str(tmp_path / "spikes.h5")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "interrupted", done.stderr
    assert done.stdout.split("\n")[-2] == "True [1.0]"


# -- one writer -----------------------------------------------------------------------------------

SECOND = """
import sys
from spikexla.network.spikefile import SpikeFile
SpikeFile(sys.argv[1], {"E": 1000, "I": 100}, append=True)
"""


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path):
    path, link = tmp_path / "spikes.h5", tmp_path / "link.h5"
    link.symlink_to(path)
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
        for name in (path, link):
            with pytest.raises(BlockingIOError, match="another run is writing"):
                SpikeFile(name, SIZES, append=True)
        command = [sys.executable, "-c", SECOND, str(path)]
        other = subprocess.run(command, capture_output=True, text=True)
        assert "BlockingIOError" in other.stderr, other.stderr
        append(file, 1)
        assert chunks_in(path) == 2
    assert sorted(tmp_path.iterdir()) == [link, path]
    with SpikeFile(link, SIZES, append=True) as file:
        append(file, 2)
    assert chunks_in(path) == 3
    assert link.is_symlink()


def test_a_journal_of_another_file_is_not_replayed(tmp_path, monkeypatch):
    path = tmp_path / "spikes.h5"
    _abandoned(path, monkeypatch)
    os.unlink(path)
    write_spikes(path, {"E": ([1.0], [3]), "I": ([], [])})
    before = path.read_bytes()
    assert read_spikes(path)["E"].times_ms.tolist() == [1.0]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_read_where_nothing_may_be_written(tmp_path, monkeypatch):
    path = tmp_path / "spikes.h5"
    _abandoned(path, monkeypatch)
    before = path.read_bytes()
    monkeypatch.setattr(disk, "open_locked", _not_allowed)  # for the tests may run as root
    assert chunks_in(path) == 2
    assert path.read_bytes() == before


def _abandoned(path, monkeypatch):
    """A file of two chunks, of which the second is in the journal only."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here: nobody to kill")
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
    if (child := fork()) == 0:
        file = SpikeFile(path, SIZES, append=True)
        synced = disk.sync

        def sync(handle):
            synced(handle)
            os.kill(os.getpid(), signal.SIGKILL)

        disk.sync = sync
        append(file, 1)
    os.waitpid(child, 0)
    assert os.path.getsize(f"{path}{journal.SUFFIX}") > 0


def _not_allowed(*_):
    raise PermissionError


SPOILED = {  # what somebody does to a file that is being written; the error
    "removed": (os.unlink, "removed while it was written"),
    "cut off": (lambda path: os.truncate(path, 100), "cut it off while it was written"),
}


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps open files from it")
@pytest.mark.parametrize("case", SPOILED)
def test_a_file_that_is_spoiled_while_it_is_written_is_said(tmp_path, case):
    spoil, message = SPOILED[case]
    with SpikeFile(tmp_path / "spikes.h5", SIZES) as file:
        append(file, 0)
        spoil(tmp_path / "spikes.h5")
        with pytest.raises(OSError, match=message):
            append(file, 1)


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["appended", "written"])
def test_a_changed_byte_is_an_error_or_changes_nothing(tmp_path, kind, small):
    path = tmp_path / "spikes.h5"
    if kind == "written":
        write_spikes(path, chunk(0))
    else:
        with SpikeFile(path, SIZES) as file:
            append(file, 0)
    content, want = path.read_bytes(), read_spikes(path)
    draw, found = np.random.default_rng(0), 0
    for at in draw.choice(len(content), 150, replace=False):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            got = read_spikes(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            found += 1
        else:
            _assert_same(got, want)
    assert found > 20


def _assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name].times_ms, want[name].times_ms)
        np.testing.assert_array_equal(got[name].node_ids, want[name].node_ids)


CHANGED = {  # what somebody does to a file; the error
    "the time that is done": (lambda s: s.attrs.modify("duration_ms", 30.0), "its attributes"),
    "a time": (lambda s: s["E/timestamps"].__setitem__(0, 0.5), "not the"),
    "an id": (lambda s: s["I/node_ids"].__setitem__(-1, 99), "not the"),
    "a spike less": (lambda s: [x.resize((5,)) for x in s["E"].values()], "not the"),
    "no seal": (lambda s: s.attrs.__delitem__("seal"), "its attributes"),
    "no format": (lambda s: s.attrs.__delitem__("format"), "its attributes"),
    "a population less": (lambda s: s.__delitem__("E"), "its attributes"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_was_changed_is_said(tmp_path, case):
    change, message = CHANGED[case]
    path = tmp_path / "spikes.h5"
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
    with h5py.File(path, "r+") as file:
        change(file["spikes"])
    with pytest.raises(ValueError, match=rf"spikes\.h5.*{message}"):
        read_spikes(path)


def test_a_file_of_a_later_version_is_named(tmp_path, monkeypatch):
    path = tmp_path / "spikes.h5"
    monkeypatch.setattr(ledger, "FORMAT", 3)
    with SpikeFile(path, SIZES) as file:
        append(file, 0)
    monkeypatch.setattr(ledger, "FORMAT", 2)
    with pytest.raises(ValueError, match="format 3, and this spikexla knows those up to 2"):
        read_spikes(path)
    with pytest.raises(ValueError, match="format 3"):
        SpikeFile(path, SIZES, append=True)


# -- the files of each version --------------------------------------------------------------------

KEPT = {"E": ([0.1, 0.2, 6.5], [3, 0, 7]), "I": ([9.9], [1])}


@pytest.mark.parametrize("version", ["0.1", "2"])
def test_files_of_every_version_are_read_and_gone_on_with(tmp_path, version):
    path = tmp_path / "spikes.h5"
    with zipfile.ZipFile(DATA / f"spikes_{version}.zip") as kept:
        path.write_bytes(kept.read("spikes.h5"))
    _assert_same_lists(read_spikes(path), KEPT)
    with SpikeFile(path, {"E": 8, "I": 2}, append=True) as file:
        assert file.start_ms == 10.0
        file.append({"E": ([10.5], [2]), "I": ([], [])}, 20.0)
    got = read_spikes(path)
    _assert_same_lists(got, {"E": ([0.1, 0.2, 6.5, 10.5], [3, 0, 7, 2]), "I": KEPT["I"]})
    with h5py.File(path) as file:
        assert file["spikes"].attrs["format"] == ledger.FORMAT
        assert file["spikes"].attrs["duration_ms"] == 20.0


def _assert_same_lists(got, want):
    assert {n: (t.times_ms.tolist(), t.node_ids.tolist()) for n, t in got.items()} == want


def test_other_programs_read_a_file_while_it_grows(tmp_path):
    with SpikeFile(tmp_path / "spikes.h5", SIZES) as file:
        append(file, 0)
        with h5py.File(tmp_path / "spikes.h5", "r") as other:
            times, ids = chunk(0)["E"]
            np.testing.assert_array_equal(other["spikes/E/timestamps"][:], times)
            np.testing.assert_array_equal(other["spikes/E/node_ids"][:], ids)


def test_a_journaled_file_is_a_file(tmp_path):
    """Seeded reads, writes and cuts, beside a BytesIO; every so often all of it is committed."""
    path, draw = tmp_path / "file", np.random.default_rng(0)
    want = io.BytesIO(bytes(range(256)) * 40)
    path.write_bytes(want.getvalue())
    file = journal.opened(str(path), journal.claimed(str(path)))
    for step in range(400):
        at, size = map(int, draw.integers(0, [len(want.getvalue()) + 1, 6000]))
        if step % 40 == 39:
            file.commit()
            assert path.read_bytes() == want.getvalue()
        elif step % 3 == 0:
            assert (file.seek(at), want.seek(at)) == (at, at)
            assert file.read(size) == want.read(size)
        elif step % 7 == 0:
            assert file.truncate(at) == want.truncate(at)
        else:
            data = draw.bytes(size)
            for f in (file, want):
                f.seek(at)
                f.write(data)
    file.close()
    assert list(tmp_path.iterdir()) == [path]
