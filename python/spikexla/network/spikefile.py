"""`SpikeFile`: a SONATA spike file that grows while a simulation runs, and is whole at any time."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import disk
from . import heap, journal
from .interrupt import shielded
from .ledger import DONE, NOTHING, SIZE, Count, Ledger
from .sink import Sink
from .sonata import check_name, new_file

CHUNK = 16384  # spikes in a chunk of HDF5, 128 KiB
_IDENTITY = "file_id"  # data set of 16 random bytes, by which a journal knows its file
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_BLOCK = 1 << 20  # spikes that are read at a time


class SpikeFile(Sink):
    """Appends spikes to `path`; `append` goes on after what is there, else the file must be new.

    `start_ms` is the time that the file holds already. What was appended is on the disk when
    `append` returns: it stays when the process is killed or the power fails, and the next who opens
    the file, here or by `read_spikes`, puts in order what was under way (`journal`). Where one
    append fails, the file is as it was before, and this object takes no more.

    Raises FileExistsError for a file that is there, BlockingIOError for one that somebody else
    appends to, ValueError for one that cannot be gone on with, OSError where `path` cannot be
    written or the disk is full, ImportError without h5py.

    >>> with SpikeFile("spikes.h5", {"E": 800}) as file:                  # doctest: +SKIP
    ...     file.append({"E": ([0.1, 0.2], [3, 0])}, 100.0)
    """

    def __init__(
        self, path: str | os.PathLike, populations: Mapping[str, int], append: bool = False
    ) -> None:
        try:
            import h5py
        except ImportError:
            raise ImportError("a spike file needs h5py: `pip install h5py`") from None

        self.path = os.fspath(path)
        for name in populations:
            check_name(name)
        self._refuse_what_is_there(append)
        self._file: Any = None
        self._empty = self._failed = False
        claim = journal.claimed(self.path)
        try:
            if not os.path.exists(self.path):
                disk.replace(self.path, _empty(populations))
                self._empty = True
            else:
                self._refuse_what_is_there(append)  # it came in the meantime
            self._disk = journal.opened(self.path, claim)
        except BaseException:
            journal.give_back(self.path, claim)
            raise
        try:
            heap.check(self._disk)
            self._file = shielded(lambda: h5py.File(self._disk, "r+"))
            shielded(lambda: self._open(populations))
            self._disk.commit()  # of what a file of format 1 lacked
            self._disk.identity = shielded(self._identity)
        except (OSError, RuntimeError, KeyError, TypeError) as error:
            self.close()
            raise ValueError(f"{self.path} is no spike file to append to ({error}).") from error
        except BaseException:
            self.close()
            raise

    def _refuse_what_is_there(self, append: bool) -> None:
        if not os.path.exists(self.path):
            return
        if not append:
            raise FileExistsError(
                errno.EEXIST,
                "there is a file already. Give append=True to go on with it, or another name",
                self.path,
            )
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if not os.path.isfile(self.path):
            raise ValueError(f"{self.path} is no spike file to append to (it is a device or pipe).")

    def _open(self, populations: Mapping[str, int]) -> None:
        spikes = self._file["spikes"]
        if DONE not in spikes.attrs or set(spikes) != set(populations):
            raise ValueError(
                f"{self.path} cannot be gone on with: it must be made by simulate(to=...) and have "
                f"the populations {sorted(populations)}, but has {sorted(spikes)}."
            )
        sizes = {name: int(spikes[name].attrs.get(SIZE, n)) for name, n in populations.items()}
        if sizes != dict(populations):
            raise ValueError(
                f"{self.path} cannot be gone on with: it is of {sizes} neurons, the network of "
                f"{dict(populations)}. Write another file."
            )
        self._groups = {name: spikes[name] for name in populations}
        self._ledger = Ledger(spikes)
        try:
            if not self._ledger.load():
                self._from_format_1()
        except ValueError as error:
            raise ValueError(f"{self.path} cannot be gone on with: {error}.") from error
        for name, count in self._ledger.counts.items():
            if {len(data) for data in self._groups[name].values()} != {count.spikes}:
                raise ValueError(f"{self.path} is damaged: {name!r} has not {count.spikes} spikes.")
        self.start_ms = float(self._ledger.done_ms)

    def _identity(self) -> journal.Identity:
        mark = self._file[_IDENTITY]
        return journal.Identity(mark.id.get_offset(), mark[:].tobytes())

    def _from_format_1(self) -> None:
        """Gives a file of spikexla 0.1 what it lacks: the counts, and bytes to know it by."""
        self._disk.identity = journal.Identity(0, disk.read(self._disk.fileno(), 16, 0))
        for name, group in self._groups.items():
            count, times, ids = NOTHING, group["timestamps"], group["node_ids"]
            for k in range(0, len(ids), _BLOCK):
                count = count.after(times[k : k + _BLOCK], ids[k : k + _BLOCK])
            self._ledger.counts[name] = count
        self._file[_IDENTITY] = _new_mark()
        self._ledger.store()
        self._file.flush()

    def append(self, trains: Mapping[str, tuple[Any, Any]], until_ms: float) -> None:
        """Adds `{population: (times in ms, ids)}`, all up to `until_ms`; all of it or nothing."""
        if self._failed:
            raise ValueError(f"{self.path}: an append failed. Open the file again to go on.")
        arrays = {name: _arrays(name, *train) for name, train in trains.items()}
        try:
            shielded(lambda: self._put(arrays, until_ms))
            self._disk.commit()
            self._empty = False
        except OSError as error:
            self._failed = True
            if error.errno not in _NO_ROOM:
                raise
            added = 16 * sum(len(ids) for _, ids in arrays.values())
            raise OSError(
                error.errno,
                f"{error.strerror}: no room for {added / 1e6:.3g} MB more. What was recorded "
                "before is in the file; free some space and go on with append=True",
                self.path,
            ) from error
        except BaseException:
            self._failed = True
            raise

    def _put(self, arrays: dict[str, tuple[np.ndarray, np.ndarray]], until_ms: float) -> None:
        """Gives HDF5 what is to be added; nothing of it is in the file before `commit`."""
        for name, (times, ids) in arrays.items():
            before: Count = self._ledger.counts[name]
            count = self._ledger.counts[name] = before.after(times, ids)
            for key, values in (("timestamps", times), ("node_ids", ids)):
                data = self._groups[name][key]
                data.resize((count.spikes,))
                data[before.spikes :] = values
        self._ledger.done_ms = until_ms
        self._ledger.store()
        self._file.flush()

    def close(self) -> None:
        """Ends the file; a new one that nothing was appended to is gone."""
        file, self._file = self._file, None
        try:
            if file is not None:
                shielded(file.close)  # what it writes now is not committed, and forgotten
        finally:
            self._disk.close(remove=self._empty)
            self._empty = False

    def __enter__(self) -> SpikeFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _arrays(name: str, times: Any, ids: Any) -> tuple[np.ndarray, np.ndarray]:
    times, ids = np.asarray(times, np.float64), np.asarray(ids, np.uint64)
    if times.ndim != 1 or times.shape != ids.shape:
        raise ValueError(
            f"population {name!r} has times of shape {times.shape} and ids of shape {ids.shape}; "
            "both must be (spikes,), one of each for every spike."
        )
    return times, ids


def _new_mark() -> np.ndarray:
    return np.frombuffer(secrets.token_bytes(16), np.uint8)


def _empty(populations: Mapping[str, int]) -> bytes:
    """A file without spikes."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file[_IDENTITY] = _new_mark()
        new_file(file, dict.fromkeys(populations), chunk=CHUNK)
        spikes: Any = file["spikes"]
        for name, n in populations.items():
            spikes[name].attrs[SIZE] = n
        ledger = Ledger(spikes)
        ledger.counts, ledger.done_ms = dict.fromkeys(populations, NOTHING), 0.0
        ledger.store()
    return content.getvalue()
