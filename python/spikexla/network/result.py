"""`Result`: what a simulation recorded, in memory or in a file, and how it ran."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .parts import Part
from .sonata import read_spikes

if TYPE_CHECKING:
    import neo


@dataclass
class Spikes:
    """The spikes of a population in the order of time, then trial, then id: int32 (spikes,).

    `steps` are counted from the start of the run, which was at `first` steps of the network's time;
    `trials` tells trials apart, counted in the flattened `batch`, and is None without a batch.
    """

    steps: np.ndarray
    ids: np.ndarray
    n: int
    dt_ms: float
    first: float = 0
    trials: np.ndarray | None = None
    batch: tuple[int, ...] = ()

    @property
    def times_ms(self) -> np.ndarray:
        """When each spike happened: the end of its step, as NEST counts."""
        return (self.first + self.steps + 1) * self.dt_ms

    def of_trial(self, trial: int) -> Spikes:
        """The spikes of one trial of a batch."""
        if self.trials is None:
            raise ValueError("of_trial: these spikes are of one trial; use them as they are.")
        if not 0 <= trial < math.prod(self.batch):
            raise ValueError(
                f"of_trial: there is no trial {trial!r}; the batch of {self.batch} has those from "
                f"0 to {math.prod(self.batch) - 1}."
            )
        mine = self.trials == trial
        return Spikes(self.steps[mine], self.ids[mine], self.n, self.dt_ms, self.first)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Rates:
    """The mean rate of a population in bins of `bin_ms` from `start_ms` on: (bins, *batch).

    The last bin may be shorter.
    """

    hz: np.ndarray
    bin_ms: float
    start_ms: float = 0.0

    @property
    def times_ms(self) -> np.ndarray:
        """Where each bin starts."""
        return self.start_ms + np.arange(len(self.hz)) * self.bin_ms


@dataclass
class Trace:
    """The values of `neurons` at `times_ms`, each the end of a step: (samples, *batch, neurons)."""

    times_ms: np.ndarray
    values: np.ndarray
    neurons: np.ndarray
    every_ms: float
    unit: str = ""  # of `values`, where the State has one


class StoredSpikes(Mapping[str, Spikes]):
    """The spikes of a run that are in a file: a population is read when it is asked for.

    `stored` has the names that populations have in the file.
    """

    def __init__(
        self,
        path: str,
        sizes: dict[str, int],
        stored: dict[str, str],
        dt: float,
        first: float,
        steps: int,
    ) -> None:
        self.path = path
        self._sizes, self._stored = sizes, stored
        self._dt, self._first, self._steps = dt, first, steps

    def __getitem__(self, name: str) -> Spikes:
        n, stored = self._sizes[name], self._stored[name]
        times, ids = read_spikes(self.path, only=stored)[stored]
        steps = np.rint(times / self._dt - self._first).astype(np.int64) - 1
        mine = slice(*np.searchsorted(steps, (0, self._steps)))
        return Spikes(
            steps[mine].astype(np.int32), ids[mine].astype(np.int32), n, self._dt, self._first
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


@dataclass
class Result:
    """What a simulation recorded, and how it ran.

    `spikes`, `rates` and `rates_hz` (the mean over the run; of a batch, for each trial) are by
    population, `traces` by (population, State). Their times go on from `start_ms`, the time that
    was simulated since `init_all_states`. With `simulate(to=...)` the spikes are in `file`, and
    read on use. `parts` has the path of each population, projection and input, by name, and the
    reason.
    """

    spikes: Mapping[str, Spikes]
    dt_ms: float
    steps: int
    path: str  # 'network_run' or 'for_loop'
    why: str
    compile_s: float
    wall_s: float
    rates_hz: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, Rates] = field(default_factory=dict)
    traces: dict[tuple[str, str], Trace] = field(default_factory=dict)
    file: str | os.PathLike | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    start_ms: float = 0.0

    @property
    def duration_ms(self) -> float:
        """The time simulated."""
        return self.steps * self.dt_ms

    def report(self) -> str:
        """What ran, how long, on which path, and the path of each part, a line each.

        >>> import spikexla as sx
        >>> print(sx.simulate(sx.network.CUBANet(20), 1.0).report())  # doctest: +ELLIPSIS
        10 steps of 0.1 ms in ... s, compiled in ... s
        network_run: all its parts are known to the engine
        ├─ E: network_run, 1280 synapses from N[0:16] to N are packed
        ├─ I: network_run, 320 synapses from N[16:20] to N are packed
        └─ N: network_run, the kernel lif_ref advances its 20 neurons
        """
        lines = [
            f"{self.steps} steps of {self.dt_ms:g} ms in {self.wall_s:.3g} s, compiled in "
            f"{self.compile_s:.3g} s",
            f"{self.path}: {self.why}",
        ]
        for k, (name, part) in enumerate(self.parts.items()):
            branch = "└─" if k == len(self.parts) - 1 else "├─"
            lines.append(f"{branch} {name or 'itself'}: {part.path}, {part.why}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Result({self.steps} steps of {self.dt_ms:g} ms, {self.path}: {self.why})"

    def to_neo(self) -> neo.Block:
        """All of it as a `neo.Block` of one segment, a Group for each population.

        A SpikeTrain for each neuron (annotations `population`, `id`), an AnalogSignal for each
        trace and rate. ImportError without neo; ValueError for several trials.

        >>> result.to_neo().segments[0].spiketrains[0].times         # doctest: +SKIP
        array([1.2, 7.3]) * ms
        """
        from .neo_block import neo_block

        return neo_block(self)


def refuse_trials(what: str, spikes: Spikes) -> None:
    """ValueError for a batch, where the spikes of a neuron must be of one trial."""
    if spikes.trials is not None:
        raise ValueError(
            f"{what}: these spikes are of a batch of {spikes.batch} trials. Take one after the "
            "other: spikes.of_trial(0)."
        )


def unit_of(value: Any) -> str:
    """The unit of a quantity, '' for what is none."""
    return str(getattr(value, "unit", ""))
