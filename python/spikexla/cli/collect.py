"""`Collector`: takes a run's spikes chunk by chunk, and keeps what fits: counts, and an excerpt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..network.result import Spikes
from ..network.sink import Sink
from ..steps import nearest_steps

MOST_SPIKES = 4_000_000  # in an excerpt, of all parts: 8 bytes each


class _Part(NamedTuple):
    """Neurons [low, high) of a population have the name of a part of the network."""

    name: str
    low: int
    high: int


class Collector(Sink):
    """Splits populations into the parts of `sizes`, counts their spikes and hands them to `file`.

    The first `MOST_SPIKES` spikes are kept if `excerpt`; they are all there were up to `until_ms`.
    Parts are named in the order of the populations and, in each, of the ids.
    """

    def __init__(
        self, sizes: Mapping[str, int], dt: float, file: Sink | None = None, excerpt: bool = False
    ) -> None:
        self.sizes, self.dt, self.file = sizes, dt, file
        self.counts = {name: np.zeros(n, np.int64) for name, n in sizes.items()}
        self.done_ms = self.until_ms = 0.0
        self._room = MOST_SPIKES if excerpt else 0
        self._kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in sizes}
        self._parts: dict[str, list[_Part]] = {}

    def begin(self, populations: Mapping[str, int]) -> None:
        """Says which populations will come, and their sizes; together the parts have as many."""
        names = iter(self.sizes)
        for population, n in populations.items():
            parts, low = [], 0
            while low < n:
                name = next(names)
                parts.append(_Part(name, low, low + self.sizes[name]))
                low += self.sizes[name]
            assert low == n, (population, parts)
            self._parts[population] = parts

    def append(self, trains: Mapping[str, tuple[np.ndarray, np.ndarray]], until_ms: float) -> None:
        """The next chunk: see `Sink`."""
        split = {}
        for population, (times, ids) in trains.items():
            for part in self._parts[population]:
                mine = (ids >= part.low) & (ids < part.high)
                split[part.name] = times[mine], ids[mine] - np.int32(part.low)
        if self.file is not None:
            self.file.append(split, until_ms)
        for name, (_, ids) in split.items():
            self.counts[name] += np.bincount(ids, minlength=self.sizes[name])
        if self._room:
            self._keep(split, until_ms)
        self.done_ms = until_ms

    def _keep(self, split: Mapping[str, tuple[np.ndarray, np.ndarray]], until_ms: float) -> None:
        """Keeps a chunk, or that part of it, from its beginning, for which there is room."""
        total = sum(len(ids) for _, ids in split.values())
        if total > self._room:  # ends where the first spike happens that has no room
            every = np.concatenate([times for times, _ in split.values()])
            until_ms = float(np.partition(every, self._room)[self._room]) - self.dt
        for name, (times, ids) in split.items():
            n = np.searchsorted(times, until_ms + self.dt / 2)
            steps = nearest_steps(times[:n], self.dt).astype(np.int32) - 1
            self._kept[name].append((steps, ids[:n].astype(np.int32)))
        self._room = 0 if total > self._room else self._room - total
        self.until_ms = until_ms

    def excerpt(self) -> dict[str, Spikes]:
        """The spikes that were kept, of each part."""
        nothing = (np.zeros(0, np.int32), np.zeros(0, np.int32))
        found = {}
        for name, chunks in self._kept.items():
            steps, ids = zip(*(chunks or [nothing]), strict=True)
            found[name] = Spikes(
                np.concatenate(steps), np.concatenate(ids), self.sizes[name], self.dt
            )
        return found

    def rates_hz(self) -> dict[str, np.ndarray]:
        """The rate of each neuron over the whole run."""
        seconds = max(self.done_ms, self.dt) / 1e3
        return {name: counts / seconds for name, counts in self.counts.items()}
