"""Spike trains in the SONATA layout, which NEST, Brian2 tools, bmtk and libsonata read.

    /                      magic 0x0A7A, version (0, 1)
    /spikes/<population>   sorting: none, by_id or by_time
        timestamps         float64, units "milliseconds"
        node_ids           uint64, counted from 0 in each population

and, for those who look at them, the attributes of `ledger`.

Source: the SONATA developer guide, "Spike file".
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import disk
from . import heap
from .journal import reading
from .ledger import NOTHING, Count, Ledger

MAGIC = 0x0A7A
VERSION = (0, 1)
SORTING = {"none": 0, "by_id": 1, "by_time": 2}

_NONE = np.zeros(0), np.zeros(0, np.uint64)
_MS = {"milliseconds": 1.0, "ms": 1.0, "seconds": 1e3, "s": 1e3}


class SpikeFileError(ValueError):
    """A file has no spikes that can be read, or not those that were written."""


class SpikeTrain(NamedTuple):
    """When which neuron of a population spiked."""

    times_ms: np.ndarray  # float64 (spikes,)
    node_ids: np.ndarray  # uint64 (spikes,)


def write_spikes(path: str | os.PathLike, populations: Mapping[str, tuple[Any, Any]]) -> None:
    """Writes `{population: (times in ms, node ids)}` to `path`, sorted by time, then by id.

    Both arrays have shape `(spikes,)`. The file appears complete or not at all. ValueError for
    arrays that do not belong together, times that are not finite or ids that are negative; OSError
    where `path` cannot be written.

    >>> write_spikes("spikes.h5", {"E": ([0.1, 0.2], [3, 0])})            # doctest: +SKIP
    """
    disk.replace(
        path, _content({name: _sorted(name, *train) for name, train in populations.items()})
    )


def read_spikes(path: str | os.PathLike, only: str | None = None) -> dict[str, SpikeTrain]:
    """Every population of a SONATA spike file, or `only` this one, times in ms.

    SpikeFileError for a file that is no SONATA spike file, is damaged (those written here have
    checksums) or counts time in an unknown unit; OSError for one that cannot be opened.

    >>> read_spikes("spikes.h5")["E"].times_ms                            # doctest: +SKIP
    array([0.1, 0.2])
    """
    import h5py

    with reading(path) as opened:  # its errors say which file they are about
        try:
            heap.check(opened)
            with h5py.File(opened, "r") as file:
                spikes: Any = file.get("spikes")
                if not isinstance(spikes, h5py.Group):
                    raise SpikeFileError(
                        f"{path} has no group /spikes; it is not a SONATA spike file."
                    )
                names = list(spikes) if only is None else [only]
                counts = _counts(path, spikes)
                return {n: _read(path, n, spikes.get(n), counts.get(n)) for n in names}
        except SpikeFileError:
            raise
        except Exception as error:  # a changed byte can become any of them
            raise SpikeFileError(
                f"{path} is not an HDF5 file, or a damaged one ({error})."
            ) from error


def new_file(file: Any, trains: Mapping[str, SpikeTrain | None], chunk: int | None = None) -> None:
    """Lays an empty HDF5 file out; None is a train to append to, in chunks of `chunk` spikes."""
    import h5py

    sorting = h5py.enum_dtype(SORTING, basetype="i1")
    file.attrs["magic"] = np.uint32(MAGIC)
    file.attrs["version"] = np.asarray(VERSION, np.uint32)
    spikes = file.create_group("spikes")
    for name, train in trains.items():
        group = spikes.create_group(name)
        group.attrs.create("sorting", SORTING["by_time"], dtype=sorting)
        for key, dtype, data in zip(
            ("timestamps", "node_ids"),
            (np.float64, np.uint64),
            train or (None, None),
            strict=True,
        ):
            if data is not None:
                group.create_dataset(key, data=data)
            else:
                group.create_dataset(key, (0,), dtype, maxshape=(None,), chunks=(chunk,))
        group["timestamps"].attrs["units"] = "milliseconds"
    ledger = Ledger(spikes)
    ledger.counts = {name: NOTHING.after(*(train or _NONE)) for name, train in trains.items()}
    ledger.store()


def check_name(name: Any) -> None:
    """Raises ValueError for what cannot be the name of a population in a file."""
    if not isinstance(name, str) or name in ("", ".") or "/" in name or "\0" in name:
        raise ValueError(f"population {name!r} must be a name without '/', such as 'E'.")


def _sorted(name: str, times: Any, ids: Any) -> SpikeTrain:
    check_name(name)
    times, ids = np.asarray(times, np.float64), np.asarray(ids)
    if times.ndim != 1 or times.shape != ids.shape:
        raise ValueError(
            f"population {name!r} has times of shape {times.shape} and ids of shape {ids.shape}; "
            "both must be (spikes,), one of each for every spike."
        )
    if ids.size and (not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0):
        raise ValueError(f"population {name!r} has node ids that are not integers of 0 or more.")
    if not np.isfinite(times).all():
        raise ValueError(f"population {name!r} has spike times that are not finite.")
    order = np.lexsort((ids, times))
    return SpikeTrain(times[order], ids[order].astype(np.uint64))


def _content(trains: dict[str, SpikeTrain]) -> memoryview:
    """The bytes of the file. HDF5 writes to memory: where a disk fills up under it, it crashes."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        new_file(file, trains)
    return content.getbuffer()


def _counts(path: Any, spikes: Any) -> dict[str, Count]:
    """How many spikes there should be, with their checksums; nothing of another program's file."""
    ledger = Ledger(spikes)
    try:
        ledger.load()
    except ValueError as error:
        raise SpikeFileError(f"{path} cannot be read: {error}.") from error
    return ledger.counts


def _read(path: Any, name: str, group: Any, count: Count | None) -> SpikeTrain:
    import h5py

    what = f"{path}: population {name!r}"
    parts = (
        [group.get(part) for part in ("timestamps", "node_ids")] if hasattr(group, "get") else []
    )
    if not parts or not all(isinstance(part, h5py.Dataset) for part in parts):
        raise SpikeFileError(f"{what} lacks the data sets timestamps and node_ids.")
    times, ids = parts
    if times.ndim != 1 or times.shape != ids.shape:
        raise SpikeFileError(
            f"{what} has timestamps of shape {times.shape} and node_ids of shape {ids.shape}; both "
            "must be (spikes,), one of each for every spike."
        )
    if times.dtype.kind not in "fiu" or ids.dtype.kind not in "iu":
        raise SpikeFileError(
            f"{what} has timestamps of type {times.dtype} and node_ids of type {ids.dtype}; they "
            "must be numbers, and the ids integers."
        )
    units = times.attrs.get("units", "milliseconds")
    units = units.decode() if isinstance(units, bytes) else str(units)
    if units not in _MS:
        raise SpikeFileError(f"{what} counts time in {units!r}; known are {', '.join(_MS)}.")
    train = SpikeTrain(times[:], ids[:])
    if count is not None and NOTHING.after(*train) != count:
        raise SpikeFileError(
            f"{what} is damaged: these are not the {count.spikes} spikes that were written."
        )
    return SpikeTrain(train.times_ms.astype(np.float64) * _MS[units], train.node_ids)
