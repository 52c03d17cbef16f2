"""`SpikeFile`: a SONATA spike file that grows while a simulation runs, and is whole at any time.

HDF5 brings the process down when its writes fail. So the space that an append needs is taken from
the disk before HDF5 hears of it: a full disk is Python's OSError, and the file stays as it was.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .sink import Sink
from .sonata import check_name, new_file

CHUNK = 16384  # spikes in a chunk of HDF5, 128 KiB
SLACK = 1 << 20  # bytes for HDF5's own tables; a flush gives back what they did not take
DONE = "duration_ms"  # attribute of /spikes: the time that is recorded, spikes or not
SIZE = "neurons"  # attribute of each population


class SpikeFile(Sink):
    """Appends spikes to `path`; `append` goes on after what is there, else the file must be new.

    `start_ms` is the time that the file holds already. What was appended is on disk and readable
    when `append` returns. Raises FileExistsError for a file that is there, ValueError for one that
    cannot be gone on with, OSError where `path` cannot be written or the disk is full, ImportError
    without h5py.

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
        old = os.path.exists(self.path)
        if old and not append:
            raise FileExistsError(
                errno.EEXIST,
                "there is a file already. Give append=True to go on with it, or another name",
                self.path,
            )
        self._disk = _Disk(self.path, "r+b" if old else "x+b")
        self._file: Any = None
        self._empty = not old
        try:
            if not old:
                self._disk.writeall(_empty(populations))
            try:
                self._file = h5py.File(self._disk, "r+")
                self._groups = self._open(populations)
            except (OSError, RuntimeError, KeyError) as error:
                raise ValueError(f"{self.path} is no spike file to append to ({error}).") from error
        except BaseException:
            self.close()
            raise

    def _open(self, populations: Mapping[str, int]) -> dict[str, Any]:
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
        self.start_ms = float(spikes.attrs[DONE])
        return {name: spikes[name] for name in populations}

    def append(self, trains: Mapping[str, tuple[Any, Any]], until_ms: float) -> None:
        """Adds `{population: (times in ms, ids)}`, all up to `until_ms`; all of it or nothing."""
        added = sum(len(ids) for _, ids in trains.values())
        self._disk.reserve(16 * added + 2 * 8 * CHUNK * len(trains))
        before = {name: len(self._groups[name]["node_ids"]) for name in trains}
        done = self._file["spikes"].attrs[DONE]
        try:
            for name, (times, ids) in trains.items():
                self._put(name, before[name], times, ids)
            self._file["spikes"].attrs[DONE] = until_ms
            self._file.flush()
            self._disk.check()
            self._empty = False
        except BaseException:
            for name, size in before.items():
                for data in self._groups[name].values():
                    data.resize((size,))
            self._file["spikes"].attrs[DONE] = done
            self._file.flush()
            raise

    def _put(self, name: str, size: int, times: Any, ids: Any) -> None:
        group = self._groups[name]
        for key, values in (("timestamps", times), ("node_ids", ids)):
            group[key].resize((size + len(values),))
            group[key][size:] = np.asarray(values, group[key].dtype)

    def close(self) -> None:
        """Ends the file; a new one that nothing was appended to is gone."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        finally:
            self._disk.close()
            if self._empty:
                self._empty = False
                os.unlink(self.path)

    def __enter__(self) -> SpikeFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _empty(populations: Mapping[str, int]) -> bytes:
    """A file without spikes."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        new_file(file, dict.fromkeys(populations), chunk=CHUNK)
        spikes: Any = file["spikes"]
        spikes.attrs[DONE] = 0.0
        for name, n in populations.items():
            spikes[name].attrs[SIZE] = n
    return content.getvalue()


class _Disk(io.FileIO):
    """A file for HDF5 whose writes never fail in its sight."""

    error: OSError | None = None

    def __init__(self, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._path = path

    def reserve(self, size: int) -> None:
        """Takes room for `size` more bytes, and some for tables. OSError where there is none."""
        end = os.fstat(self.fileno()).st_size
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.fileno(), end, size + SLACK)
            else:  # macOS: zeros, which take the room as well
                _fill(self.fileno(), end, size + SLACK)
        except OSError as error:
            os.ftruncate(self.fileno(), end)  # what was taken so far
            raise OSError(
                error.errno,
                f"{error.strerror}: no room for {size / 1e6:.3g} MB more. What was recorded before "
                "is in the file; free some space and go on with append=True",
                self._path,
            ) from error

    def writeall(self, data: Any) -> None:
        """Writes all of `data`. OSError where there is no room."""
        left = memoryview(data).cast("B")
        while left:
            left = left[super().write(left) or 0 :]

    def write(self, data: Any) -> int:
        """What HDF5 writes: all of `data`; a failure is kept for `check`."""
        try:
            self.writeall(data)
        except OSError as error:
            self.error = self.error or error
        return len(data)

    def check(self) -> None:
        """Raises what a write met, in spite of the room that was taken for it."""
        if self.error is not None:
            raise OSError(
                self.error.errno,
                f"{self.error.strerror}: the file is not complete",
                self._path,
            ) from self.error


def _fill(handle: int, start: int, size: int) -> None:
    zeros = bytes(1 << 20)
    while size > 0:
        done = os.pwrite(handle, zeros[: min(size, len(zeros))], start)
        start, size = start + done, size - done
