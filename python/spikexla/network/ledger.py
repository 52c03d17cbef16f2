"""What a spike file says of its content, so that a changed byte is noticed.

Each population has the number of its spikes and the CRC-32 of its times and of its ids; /spikes has
the number of the format, and in `seal` the CRC-32 of all that. Files of other programs have none of
it, files of format 1 (spikexla 0.1) neither.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple, final

import numpy as np

FORMAT = 2
DONE = "duration_ms"  # attribute of /spikes: the time that is recorded, spikes or not
SIZE = "neurons"  # attribute of each population that is appended to
_FORMAT, _SEAL = "format", "seal"  # attributes of /spikes
_COUNT, _CRC = "spikes", "crc32"  # attributes of each population


class Count(NamedTuple):
    """How many spikes a population has, and the CRC-32 of their times and ids."""

    spikes: int
    crc: tuple[int, int]

    def after(self, times: np.ndarray, ids: np.ndarray) -> Count:
        """The count with these added."""
        added = _bytes(times, "<f8"), _bytes(ids, "<u8")
        crc = tuple(zlib.crc32(x, c) for x, c in zip(added, self.crc, strict=True))
        return Count(self.spikes + len(ids), (crc[0], crc[1]))


NOTHING = Count(0, (0, 0))


@final
class Ledger:
    """The counts of the populations in the group `spikes` of an open file, and their seal."""

    def __init__(self, spikes: Any) -> None:
        self._spikes = spikes
        self._fixed = {"/": _told(spikes.file, "magic", "version")}
        self._fixed |= {name: _told(spikes[name], SIZE, "sorting") for name in sorted(spikes)}
        self.counts: dict[str, Count] = {}
        self.done_ms = spikes.attrs.get(DONE)

    def load(self) -> bool:
        """Takes what the file says; False where it says nothing.

        ValueError where that is damaged, or of a later version.
        """
        attrs = self._spikes.attrs
        if _FORMAT not in attrs and _SEAL not in attrs:
            return False
        try:
            written, seal = int(attrs[_FORMAT]), int(attrs[_SEAL])
            for name in self._spikes:
                told = self._spikes[name].attrs
                times, ids = map(int, told[_CRC])
                self.counts[name] = Count(int(told[_COUNT]), (times, ids))
            good = seal == self._seal(written)
        except (KeyError, TypeError, ValueError):
            written, good = FORMAT, False
        if not good:
            raise ValueError("it is damaged: its attributes are not those that were written")
        if written > FORMAT:
            raise ValueError(
                f"it has format {written}, and this spikexla knows those up to {FORMAT}: update it"
            )
        return True

    def store(self) -> None:
        """Writes the counts, and seals them with the other attributes."""
        attrs = self._spikes.attrs
        for name, count in self.counts.items():
            told = self._spikes[name].attrs
            told.modify(_COUNT, np.uint64(count.spikes))
            told.modify(_CRC, np.asarray(count.crc, np.uint32))
        if self.done_ms is not None:
            attrs.modify(DONE, np.float64(self.done_ms))
        attrs.modify(_FORMAT, np.uint32(FORMAT))
        attrs.modify(_SEAL, np.uint32(self._seal(FORMAT)))

    def _seal(self, written: int) -> int:
        done = None if self.done_ms is None else float(self.done_ms)
        facts = [written, done, self._fixed, sorted(self.counts.items())]
        return zlib.crc32(json.dumps(facts).encode())


def _told(where: Any, *names: str) -> list:
    values = [where.attrs.get(name) for name in names]
    return [v.decode() if isinstance(v, bytes) else np.asarray(v).tolist() for v in values]


def _bytes(values: np.ndarray, written_as: str) -> memoryview:
    """The bytes of these numbers as written, whatever type a damaged file says they are."""
    with np.errstate(invalid="ignore"):
        return np.ascontiguousarray(values, written_as).view(np.uint8).data
