"""`JournaledFile`: a file that takes changes as a whole, whatever ends the process or the power.

What is written to it stays in memory until `commit`. That

1. writes what lies behind the old end to the file, where nothing points to it yet,
2. appends a record of every other change to `<file>.journal`, and waits until it is on the medium:
   now the changes will be there,
3. makes these changes in the file.

Whoever opens the file next makes them again from the journal, which is idempotent, and removes it.
A record has what lies behind the end as well, if that is little: one wait is enough then. Of much,
the file itself is waited for before the record, and so it is before a full journal starts again.

The journal is also the lock: one process writes. HDF5 crashes when its writes fail; here its
writes go to memory, and a full disk is met in `commit`, by Python.

    record   magic, number, end of the file, pieces, bytes, where the identity is, identity, CRC-32
             (offset, length) of each piece, and their bytes
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import disk

SUFFIX = ".journal"
PAGE = 4096
FEW = 4 << 20  # bytes that are written twice sooner than waited for twice
FULL = 16 << 20  # bytes of a journal

_MAGIC = b"spkxjrn2"
_HEADER = struct.Struct("<8sQQIQQ16sI")
_PIECE = struct.Struct("<QQ")
_BUSY = "another run is writing this file. Wait for its end, or write another file"


class Identity(NamedTuple):
    """Bytes that tell a file from others that may take its place, and where they are in it."""

    at: int
    mark: bytes  # 16


class _Record(NamedTuple):
    number: int
    end: int
    pieces: list[tuple[int, bytes]]
    size: int
    identity: Identity


class JournaledFile(io.RawIOBase):
    """A file object for `path`, which must be there; alone with it if it is to be written.

    BlockingIOError where another process or thread writes it.
    """

    def __init__(self, path: str, writable: bool = True) -> None:
        super().__init__()
        self.path = os.path.realpath(path)
        self.identity = Identity(0, bytes(16))
        self._writable = writable
        self._at = self._place = 0
        self._number = 1
        self._journal = -1
        self._main = os.open(self.path, disk.WRITE if writable else disk.READ)
        self._forget()

    def _forget(self) -> None:
        """Puts everything back to what the file has."""
        self._end = self._size = os.fstat(self._main).st_size
        self._pages: dict[int, bytearray] = {}
        self._tail = bytearray()

    # -- what HDF5 calls ------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return self._writable

    def seekable(self) -> bool:
        return True

    def seek(self, at: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + at
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        del self._tail[max(0, self._size - self._end) :]
        return self._size

    def readinto(self, buffer: Any) -> int:
        out = memoryview(buffer).cast("B")
        size = max(0, min(len(out), self._size - self._at))
        low = max(0, min(size, self._end - self._at))
        base = disk.read(self._main, low, self._at)
        out[: len(base)] = base
        for k in self._touched(self._at, low) if self._pages else ():
            if k in self._pages:
                start, first, last = self._overlap(k, low)
                part = self._pages[k][first - start : last - start]
                out[first - self._at : last - self._at] = part
        first = self._at + low - self._end
        high = self._tail[first : first + size - low]
        out[low : low + len(high)] = high
        out[low + len(high) : size] = bytes(size - low - len(high))
        self._at += size
        return size

    def write(self, data: Any) -> int:
        data = memoryview(data).cast("B")
        low = max(0, min(len(data), self._end - self._at))
        if low:
            self._write_low(data[:low])
        if low < len(data):
            first = self._at + low - self._end
            self._tail.extend(bytes(max(0, first - len(self._tail))))
            self._tail[first : first + len(data) - low] = data[low:]
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def _write_low(self, data: memoryview) -> None:
        """Takes what lies before the end: the pages of it that differ from what is there."""
        place, there = self._at, bytearray(len(data))
        self.readinto(there)
        differs = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(there, np.uint8))
        self._at = place
        if not len(differs):
            return
        for k in range((place + differs[0]) // PAGE, (place + differs[-1]) // PAGE + 1):
            start, first, last = self._overlap(k, len(data))
            page = self._pages.get(k)
            if page is None:
                page = bytearray(disk.read(self._main, min(PAGE, self._end - start), start))
                page.extend(bytes(min(PAGE, self._end - start) - len(page)))  # see `_look`
                self._pages[k] = page
            page[first - start : last - start] = data[first - place : last - place]

    def _overlap(self, k: int, size: int) -> tuple[int, int, int]:
        """Where page k starts, and where what it shares with the next `size` bytes starts, ends."""
        start = k * PAGE
        return start, max(start, self._at), min(start + PAGE, self._at + size)

    @staticmethod
    def _touched(at: int, size: int) -> range:
        return range(at // PAGE, -(-(at + size) // PAGE) if size else at // PAGE)

    # -- all or nothing -------------------------------------------------------------------------

    def commit(self) -> None:
        """Makes the changes since the last time last. OSError, and no change, where it cannot."""
        if not (self._pages or self._tail or self._size != self._end):
            return
        self._look()
        self._tail.extend(bytes(max(0, self._size - self._end - len(self._tail))))
        pieces = _joined(self._pages)
        before = [(at, disk.read(self._main, len(data), at)) for at, data in pieces]
        try:
            disk.write(self._main, self._tail, self._end)
            few = len(self._tail) <= FEW
            record = self._record([*pieces, (self._end, self._tail)] if few else pieces)
            full = self._place + len(record) > FULL
            if full or not few:
                disk.sync(self._main)
            if full:
                self._start_again()
            disk.write(self._journal, record, self._place)
            disk.sync(self._journal)
            for at, data in pieces:  # over blocks that are there, which needs no room
                disk.write(self._main, data, at)
            if self._size < self._end:
                disk.truncate(self._main, self._size)
        except BaseException:
            self._undo(before)
            raise
        self._place += len(record)
        self._number += 1
        self._forget()

    def _look(self) -> None:
        """Raises OSError where somebody has spoiled the file in the meantime."""
        now = os.fstat(self._main)
        if now.st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "it was removed while it was written", self.path)
        if now.st_size < self._end:
            raise OSError(errno.EIO, "somebody else cut it off while it was written", self.path)

    def _undo(self, before: list[tuple[int, bytes]]) -> None:
        """Puts the file back to the state before, and takes the record back."""
        for at, data in before:
            disk.write(self._main, data, at)
        disk.truncate(self._main, self._end)
        disk.sync(self._main)
        self._start_again()

    def _start_again(self) -> None:
        """Empties the journal, whose changes are on the medium: all of it before any is written
        over, for half of a chain of records would take the file back."""
        disk.truncate(self._journal, 0)
        disk.sync(self._journal)
        self._place = 0

    def _record(self, pieces: list[tuple[int, Any]]) -> bytes:
        body = b"".join(
            [*(_PIECE.pack(at, len(data)) for at, data in pieces), *(data for _, data in pieces)]
        )
        facts = (_MAGIC, self._number, self._size, len(pieces), len(body), *self.identity)
        crc = zlib.crc32(body, zlib.crc32(_HEADER.pack(*facts, 0)))
        return _HEADER.pack(*facts, crc) + body

    def rollback(self) -> None:
        """Forgets the changes since the last commit."""
        if os.fstat(self._main).st_size > self._end:
            disk.truncate(self._main, self._end)
        self._forget()

    def fileno(self) -> int:
        return self._main

    def close(self, remove: bool = False) -> None:
        """Gives the file back; what was committed is on the medium, and the journal gone.

        remove: and the file too.
        """
        if self.closed:
            return
        super().close()
        try:
            if self._journal >= 0:
                self.rollback()
                disk.sync(self._main)
                disk.remove(self.path + SUFFIX)
                if remove:
                    disk.remove(self.path)
                disk.sync_folder(self.path)
        finally:
            os.close(self._main)
            if self._journal >= 0:
                os.close(self._journal)

    # -- the journal ----------------------------------------------------------------------------

    def replay(self, records: list[_Record]) -> None:
        """Makes the changes of a journal, if it is of this file; only in memory if read only."""
        for record in records:
            at, mark = record.identity
            if disk.read(self._main, len(mark), at) != mark:
                return  # of another file, in whose place this one is
        for at, data in (piece for record in records for piece in record.pieces):
            if self._writable:
                disk.write(self._main, data, at)
            else:
                self.seek(at)
                self.write(data)
        if not records:
            return
        if self._writable:  # the last end: what lies behind the others may be here only
            disk.truncate(self._main, records[-1].end)
            disk.sync(self._main)
            self._forget()
        else:
            self.truncate(records[-1].end)


def claimed(path: str) -> int:
    """The journal of `path` with the lock on it. BlockingIOError where another has it."""
    path = os.path.realpath(path)
    try:
        return disk.open_locked(path + SUFFIX, _BUSY)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, _BUSY, path) from None


def give_back(path: str, journal: int) -> None:
    """Ends a claim to a file that was not opened."""
    disk.remove(os.path.realpath(path) + SUFFIX)
    os.close(journal)


def opened(path: str, journal: int) -> JournaledFile:
    """The file `path` to write to, with the changes that its journal, which was claimed, has."""
    file = JournaledFile(path)
    try:
        file.replay(_records(journal))
        disk.truncate(journal, 0)
        disk.sync(journal)
        disk.sync_folder(file.path)
    except BaseException:
        file.close()
        raise
    file._journal = journal
    return file


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[Any]:
    """The file `path` as whoever writes it, or was killed while writing it, has committed it.

    What a killed one left is put in order, unless this process may not write there.
    """
    real = os.path.realpath(path)
    if os.path.exists(real + SUFFIX):
        with contextlib.suppress(OSError):  # it is being written, or may not be
            _put_in_order(real)
    try:
        journal = os.open(real + SUFFIX, disk.READ)
    except FileNotFoundError:
        with open(path, "rb") as plain:
            yield plain
        return
    try:
        with JournaledFile(real, writable=False) as file:
            file.replay(_records(journal))
            yield file
    finally:
        os.close(journal)


def _put_in_order(path: str) -> None:
    journal = disk.open_locked(path + SUFFIX, _BUSY, disk.WRITE)
    try:
        file = opened(path, journal)
    except BaseException:
        os.close(journal)
        raise
    file.close()


def _records(journal: int) -> list[_Record]:
    """The records of a journal that are whole, one after the other."""
    found: list[_Record] = []
    place = 0
    while (record := _record_at(journal, place)) is not None:
        if found and record.number != found[-1].number + 1:
            break  # of an earlier round
        found.append(record)
        place += record.size
    return found


def _record_at(journal: int, place: int) -> _Record | None:
    header = disk.read(journal, _HEADER.size, place)
    if len(header) < _HEADER.size:
        return None
    magic, number, end, n, size, *identity, crc = _HEADER.unpack(header)
    left = os.fstat(journal).st_size - place - _HEADER.size
    if magic != _MAGIC or size > left or n * _PIECE.size > size:
        return None
    body = disk.read(journal, size, place + _HEADER.size)
    facts = (magic, number, end, n, size, *identity)
    if zlib.crc32(body, zlib.crc32(_HEADER.pack(*facts, 0))) != crc:
        return None
    pieces, at = [], n * _PIECE.size
    for k in range(n):
        offset, length = _PIECE.unpack_from(body, k * _PIECE.size)
        pieces.append((offset, body[at : at + length]))
        at += length
    return _Record(number, end, pieces, _HEADER.size + size, Identity(*identity))


def _joined(pages: dict[int, bytearray]) -> list[tuple[int, bytearray]]:
    """The pages as pieces, neighbours in one."""
    pieces: list[tuple[int, bytearray]] = []
    for k in sorted(pages):
        at = k * PAGE
        if pieces and pieces[-1][0] + len(pieces[-1][1]) == at:
            pieces[-1][1].extend(pages[k])
        else:
            pieces.append((at, bytearray(pages[k])))
    return pieces
