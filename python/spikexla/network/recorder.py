"""`Recorder`: takes what each chunk of a run gives, and keeps of it what was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ops.raster import unpack_bits
from ..steps import whole_steps
from .record import Wanted
from .result import Rates, StoredSpikes, Trace, joined, unit_of
from .sink import Sink
from .spikefile import SpikeFile


@dataclass
class _Recorded:
    """What the finished chunks have given."""

    done: int = 0  # steps
    spikes: list[dict[str, tuple[np.ndarray, np.ndarray]]] = field(default_factory=list)
    samples: list[list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=list)


class Recorder:
    """Keeps the spikes of a run in memory or hands them to `to`, and counts them."""

    def __init__(
        self,
        wanted: Wanted,
        steps: int,
        dt: float,
        to: str | os.PathLike | Sink | None,
        append: bool,
    ) -> None:
        self.wanted, self.dt = wanted, dt
        self._first = 0  # step of the sink that this run starts at
        self._kept = _Recorded()
        self._totals = dict.fromkeys(wanted.rasters, 0)
        self._bins = {
            name: np.zeros(-(-steps // width), np.int64)
            for name, (_, width) in wanted.rates.items()
        }
        self._file = None  # what was opened here
        self._sink = to if isinstance(to, Sink) else None
        if append and to is None:
            raise ValueError(
                "simulate: append=True goes on with a file. Name it by to=, or leave append out."
            )
        if self._sink is not None and append:
            raise ValueError(f"simulate: append=True is for files, but to={to!r} is a Sink.")
        if to is not None and not isinstance(to, Sink):
            if not isinstance(to, str | os.PathLike):
                raise TypeError(f"simulate: to={to!r} must be the path of a file, or a Sink.")
            sizes = {name: n.size for name, n in wanted.spikes.items()}
            self._sink = self._file = SpikeFile(to, sizes, append)
        if self._sink is not None:
            first = whole_steps(self._sink.start_ms, dt)
            if first is None:
                self.close()
                raise ValueError(
                    f"to={to!r} ends at {self._sink.start_ms:g} ms, which is no whole number of "
                    f"steps of dt = {dt} ms. Go on with its dt, or write another file."
                )
            self._first = first

    def take(self, rasters: dict[str, np.ndarray], samples: list[np.ndarray], steps: int) -> None:
        """The next chunk of `steps` steps: rasters of populations, and the samples of traces.

        All of it is kept, or none of it.
        """
        at = self._kept.done
        counted = {name: unpack_bits(rasters[name]) for name in self._totals}
        trains = {name: counted[name] for name in self.wanted.spikes}
        traces = [
            (at + trace.first(at) + trace.every * np.arange(len(values)), values)
            for trace, values in zip(self.wanted.traces, samples, strict=True)
        ]
        if self._sink is not None:
            first = self._first + at
            times = {n: ((first + 1 + when) * self.dt, ids) for n, (when, ids) in trains.items()}
            self._sink.append(times, (first + steps) * self.dt)
        else:
            self._kept.spikes.append({n: (w + np.int32(at), ids) for n, (w, ids) in trains.items()})
        self._kept.samples.append(traces)
        self._count(counted, at)
        self._kept.done = at + steps

    def _count(self, trains: dict[str, tuple[np.ndarray, np.ndarray]], at: int) -> None:
        for name, (when, _) in trains.items():
            self._totals[name] += len(when)
            if name in self._bins:
                _, width = self.wanted.rates[name]
                first = at // width
                counts = np.bincount((at + when) // width - first)
                self._bins[name][first : first + len(counts)] += counts

    def results(self) -> dict[str, Any]:
        """What is recorded so far, as fields of a Result."""
        done, dt = self._kept.done, self.dt
        seconds = done * dt / 1e3
        sizes = {name: n.size for name, n in self.wanted.spikes.items()}
        return {
            "steps": done,
            "spikes": self._spikes(sizes),
            "file": self._file.path if self._file is not None and done else None,
            "rates_hz": {
                name: self._totals[name] / n.size / seconds if done else 0.0
                for name, n in self.wanted.rasters.items()
            },
            "rates": {name: self._rates(name) for name in self._bins},
            "traces": {trace.label: self._trace(k) for k, trace in enumerate(self.wanted.traces)},
        }

    def _spikes(self, sizes: dict[str, int]) -> Any:
        if self._file is not None and self._kept.done:
            return StoredSpikes(self._file.path, sizes, self.dt, self._first, self._kept.done)
        if self._sink is not None and self._file is None:
            return {}
        return {
            name: joined([chunk[name] for chunk in self._kept.spikes], n, self.dt)
            for name, n in sizes.items()
        }

    def _rates(self, name: str) -> Rates:
        neurons, width = self.wanted.rates[name]
        done = self._kept.done
        counts = self._bins[name][: -(-done // width)]
        steps = np.minimum(width, done - np.arange(len(counts)) * width)
        return Rates(counts / (neurons.size * steps * self.dt / 1e3), width * self.dt)

    def _trace(self, k: int) -> Trace:
        trace = self.wanted.traces[k]
        chunks = [chunk[k] for chunk in self._kept.samples]
        nothing = (np.zeros(0, np.int64), np.zeros((0, len(trace.index))))
        steps, values = zip(*(chunks or [nothing]), strict=True)
        times = (np.concatenate(steps) + 1) * self.dt
        return Trace(
            times,
            np.concatenate(values),
            trace.index,
            trace.every * self.dt,
            unit_of(trace.state.value),
        )

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()
