"""Spike trains in the SONATA layout, which NEST, Brian2 tools, bmtk and libsonata read.

    /                      magic 0x0A7A, version (0, 1)
    /spikes/<population>   sorting: none, by_id or by_time
        timestamps         float64, units "milliseconds"
        node_ids           uint64, counted from 0 in each population

Source: the SONATA developer guide, "Spike file".
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x0A7A
VERSION = (0, 1)
SORTING = {"none": 0, "by_id": 1, "by_time": 2}

_MS = {"milliseconds": 1.0, "ms": 1.0, "seconds": 1e3, "s": 1e3}


class SpikeTrain(NamedTuple):
    """When which neuron of a population spiked."""

    times_ms: np.ndarray  # float64 (spikes,)
    node_ids: np.ndarray  # uint64 (spikes,)


def write_spikes(path: str | os.PathLike, populations: Mapping[str, tuple[Any, Any]]) -> None:
    """Writes `{population: (times in ms, node ids)}` to `path`, sorted by time, then by id.

    Both arrays have shape `(spikes,)`. The file appears complete or not at all. ValueError for
    arrays that do not belong together, times that are not finite or ids that are negative.

    >>> write_spikes("spikes.h5", {"E": ([0.1, 0.2], [3, 0])})            # doctest: +SKIP
    """
    trains = {name: _sorted(name, *train) for name, train in populations.items()}
    path = Path(path)
    handle, draft = tempfile.mkstemp(prefix=".spikes-", dir=path.parent)
    os.close(handle)
    try:
        _write(draft, trains)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)  # mkstemp's files are private
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def read_spikes(path: str | os.PathLike) -> dict[str, SpikeTrain]:
    """Every population of a SONATA spike file, times in ms.

    ValueError for a file without `/spikes` or with an unknown unit of time.

    >>> read_spikes("spikes.h5")["E"].times_ms                            # doctest: +SKIP
    array([0.1, 0.2])
    """
    import h5py

    with h5py.File(path, "r") as file:
        if "spikes" not in file:
            raise ValueError(f"{path} has no group /spikes; it is not a SONATA spike file.")
        spikes: Any = file["spikes"]
        return {name: _read(path, name, group) for name, group in spikes.items()}


def _sorted(name: str, times: Any, ids: Any) -> SpikeTrain:
    if not name or "/" in name:
        raise ValueError(f"population {name!r} must be a name without '/', such as 'E'.")
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


def _write(path: str, trains: dict[str, SpikeTrain]) -> None:
    import h5py

    sorting = h5py.enum_dtype(SORTING, basetype="i1")
    with h5py.File(path, "w") as file:
        file.attrs["magic"] = np.uint32(MAGIC)
        file.attrs["version"] = np.asarray(VERSION, np.uint32)
        spikes = file.create_group("spikes")
        for name, train in trains.items():
            group = spikes.create_group(name)
            group.attrs.create("sorting", SORTING["by_time"], dtype=sorting)
            times = group.create_dataset("timestamps", data=train.times_ms)
            times.attrs["units"] = "milliseconds"
            group.create_dataset("node_ids", data=train.node_ids)


def _read(path: Any, name: str, group: Any) -> SpikeTrain:
    times = group["timestamps"]
    units = times.attrs.get("units", "milliseconds")
    units = units.decode() if isinstance(units, bytes) else str(units)
    if units not in _MS:
        raise ValueError(
            f"{path}: population {name!r} counts time in {units!r}; known are {', '.join(_MS)}."
        )
    return SpikeTrain(times[:].astype(np.float64) * _MS[units], group["node_ids"][:])
