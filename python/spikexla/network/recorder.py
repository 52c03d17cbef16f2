"""`Recorder`: takes what each chunk of a run gives, and keeps of it what was asked for."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..ops.raster import unpack_bits
from ..steps import whole_steps
from .record import Wanted, batch_of
from .result import Rates, Spikes, StoredSpikes, Trace, unit_of
from .sink import Sink
from .spikefile import SpikeFile


class Start(NamedTuple):
    """Where the clock of a network is when a run begins."""

    step: int  # the steps made; those of `every` are counted on
    time: float  # in steps of the dt of the run


class _Train(NamedTuple):
    """The spikes of a chunk in the order of time, trial, id; `trials` is 0 without a batch."""

    steps: np.ndarray
    ids: np.ndarray
    trials: np.ndarray | int


def _both(first: _Train, then: _Train) -> _Train:
    """`first`, spikes of the first step, and a train that begins with that step."""
    now = np.searchsorted(then.steps, 1)
    trials = [np.broadcast_to(train.trials, train.ids.shape) for train in (first, then)]
    steps, ids, trials = map(np.concatenate, ((first[0], then[0]), (first[1], then[1]), trials))
    now += len(first.ids)
    order = np.lexsort((ids[:now], trials[:now]))
    ids[:now], trials[:now] = ids[order], trials[order]
    return _Train(steps, ids, trials if isinstance(then.trials, np.ndarray) else 0)


@dataclass
class _Recorded:
    """What the finished chunks have given."""

    done: int = 0  # steps
    spikes: list[dict[str, _Train]] = field(default_factory=list)
    samples: list[list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=list)


class Recorder:
    """Keeps the spikes of a run in memory or hands them to `to`, and counts them."""

    def __init__(
        self,
        wanted: Wanted,
        steps: int,
        dt: float,
        start: Start,
        to: str | os.PathLike | Sink | None,
        append: bool,
    ) -> None:
        self.wanted, self.dt = wanted, dt
        self._step, self._time = start
        self._batch = {name: batch_of(n) for name, n in wanted.rasters.items()}
        self._kept = _Recorded()
        self._before: dict[str, _Train] = {}  # spikes that arrive in the first step
        self._totals = {name: np.zeros(math.prod(b), np.int64) for name, b in self._batch.items()}
        self._bins = {
            name: np.zeros((-(-steps // width), math.prod(self._batch[name])), np.int64)
            for name, (_, width) in wanted.rates.items()
        }
        self._file = None  # what was opened here
        # The network itself, which may be a population, has no name; in a file it needs one.
        self._names = {name: name or type(n).__name__ for name, n in wanted.spikes.items()}
        self._sink = to if isinstance(to, Sink) else None
        if append and to is None:
            raise ValueError(
                "simulate: append=True goes on with a file. Name it by to=, or leave append out."
            )
        if self._sink is not None and append:
            raise ValueError(f"simulate: append=True is for files, but to={to!r} is a Sink.")
        if to is not None:
            self._refuse_trials(to)
        if to is not None and not isinstance(to, Sink):
            if not isinstance(to, str | os.PathLike):
                raise TypeError(f"simulate: to={to!r} must be the path of a file, or a Sink.")
            sizes = {self._names[name]: n.size for name, n in wanted.spikes.items()}
            self._sink = self._file = SpikeFile(to, sizes, append)
        if self._sink is not None and not self._sink.start_ms <= (self._time + 1e-3) * dt:
            self._go_on(to, self._sink.start_ms)

    def _refuse_trials(self, to: Any) -> None:
        for name, batch in self._batch.items():
            if batch and name in self.wanted.spikes:
                raise ValueError(
                    f"simulate: {name or 'the population'} has trials, a batch axis of {batch}, "
                    f"which spikes written to={to!r} do not tell apart. Keep them in memory, "
                    "without to=, or run one trial after the other."
                )

    def _go_on(self, to: Any, end_ms: float) -> None:
        """Spikes are written in the order of time: from the end of what is there already."""
        steps = whole_steps(end_ms, self.dt)
        if steps is None:
            self.close()
            raise ValueError(
                f"to={to!r} ends at {end_ms:g} ms, which is no whole number of "
                f"steps of dt = {self.dt} ms. Go on with its dt, or write another file."
            )
        self._time = steps

    def begin(self, spikes: dict[str, Any]) -> None:
        """The spikes that States stand for which no step has made.

        They arrive in the first step, and count as spikes of that step.
        """
        for name, given in spikes.items():
            shape = len(self._totals[name]), self.wanted.rasters[name].size
            trials, ids = np.nonzero(np.asarray(given).reshape(shape))
            trials, ids = trials.astype(np.int32), ids.astype(np.int32)
            self._before[name] = _Train(np.zeros_like(ids), ids, trials if self._batch[name] else 0)

    def take(self, rasters: dict[str, np.ndarray], samples: list[np.ndarray], steps: int) -> None:
        """The next chunk of `steps` steps: rasters of populations, and the samples of traces.

        All of it is kept, or none of it.
        """
        at = self._kept.done
        counted = {name: self._train(name, rasters[name]) for name in self._totals}
        if at == 0:
            first = {name: train for name, train in self._before.items() if len(train.ids)}
            counted |= {name: _both(train, counted[name]) for name, train in first.items()}
        trains = {name: counted[name] for name in self.wanted.spikes}
        traces = [
            (at + trace.first(self._step + at) + trace.every * np.arange(len(values)), values)
            for trace, values in zip(self.wanted.traces, samples, strict=True)
        ]
        if self._sink is not None:
            first = self._time + at
            names = (
                self._names if self._file is not None else dict(zip(trains, trains, strict=True))
            )
            times = {names[n]: ((first + 1 + t.steps) * self.dt, t.ids) for n, t in trains.items()}
            self._sink.append(times, (first + steps) * self.dt)
        else:
            later = {n: t._replace(steps=t.steps + np.int32(at)) for n, t in trains.items()}
            self._kept.spikes.append(later)
        self._kept.samples.append(traces)
        self._count(counted, at)
        self._kept.done = at + steps

    def _train(self, name: str, raster: np.ndarray) -> _Train:
        """The spikes of a raster (steps, *batch, words)."""
        if not self._batch[name]:
            return _Train(*unpack_bits(raster), 0)
        steps, bits = unpack_bits(raster.reshape(len(raster), math.prod(raster.shape[1:])))
        trials, ids = np.divmod(bits, np.int32(32 * raster.shape[-1]))
        return _Train(steps, ids, trials)

    def _count(self, trains: dict[str, _Train], at: int) -> None:
        for name, (when, _, trials) in trains.items():
            total = self._totals[name]
            where = np.broadcast_to(trials, when.shape)
            total += np.bincount(where, minlength=len(total))
            if name in self._bins:
                _, width = self.wanted.rates[name]
                first = at // width
                cells = ((at + when) // width - first) * len(total) + where
                counts = np.bincount(cells)
                self._bins[name].reshape(-1)[first * len(total) :][: len(counts)] += counts

    def results(self) -> dict[str, Any]:
        """What is recorded so far, as fields of a Result."""
        done, dt = self._kept.done, self.dt
        return {
            "steps": done,
            "start_ms": self._time * dt,
            "spikes": self._spikes(),
            "file": self._file.path if self._file is not None and done else None,
            "rates_hz": {name: self._rate(name) for name in self._totals},
            "rates": {name: self._rates(name) for name in self._bins},
            "traces": {trace.label: self._trace(k) for k, trace in enumerate(self.wanted.traces)},
        }

    def _rate(self, name: str) -> Any:
        done, size = self._kept.done, self.wanted.rasters[name].size
        rates = self._totals[name] / size / (max(done, 1) * self.dt / 1e3)
        return rates.reshape(self._batch[name]) if self._batch[name] else float(rates[0])

    def _spikes(self) -> Any:
        if self._file is not None and self._kept.done:
            sizes = {name: n.size for name, n in self.wanted.spikes.items()}
            run = self.dt, self._time, self._kept.done
            return StoredSpikes(self._file.path, sizes, self._names, *run)
        if self._sink is not None and self._file is None:
            return {}
        return {name: self._joined(name, n.size) for name, n in self.wanted.spikes.items()}

    def _joined(self, name: str, n: int) -> Spikes:
        """The spikes of one chunk after the other."""
        nothing = np.zeros(0, np.int32)
        parts = [chunk[name] for chunk in self._kept.spikes] or [_Train(*[nothing] * 3)]
        batch = self._batch[name]
        trials = np.concatenate([part.trials for part in parts]) if batch else None
        steps, ids = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        return Spikes(steps, ids, n, self.dt, self._time, trials, batch)

    def _rates(self, name: str) -> Rates:
        neurons, width = self.wanted.rates[name]
        done = self._kept.done
        counts = self._bins[name][: -(-done // width)]
        steps = np.minimum(width, done - np.arange(len(counts)) * width)[:, None]
        hz = counts / (neurons.size * steps * self.dt / 1e3)
        hz = hz.reshape(len(counts), *self._batch[name])
        return Rates(hz, width * self.dt, self._time * self.dt)

    def _trace(self, k: int) -> Trace:
        trace = self.wanted.traces[k]
        chunks = [chunk[k] for chunk in self._kept.samples]
        nothing = (np.zeros(0, np.int64), np.zeros((0, *trace.batch, len(trace.index))))
        steps, values = zip(*(chunks or [nothing]), strict=True)
        times = (self._time + np.concatenate(steps) + 1) * self.dt
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
