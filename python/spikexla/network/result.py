"""`Result`: what a simulation recorded, in memory or in a file, and how it ran."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..steps import nearest_steps
from .parts import Part
from .sonata import read_spikes

if TYPE_CHECKING:
    import neo


@dataclass
class Spikes:
    """The spikes of a population in the order of time, then id: `steps` and `ids`, int32."""

    steps: np.ndarray
    ids: np.ndarray
    n: int
    dt_ms: float

    @property
    def times_ms(self) -> np.ndarray:
        """When each spike happened: the end of its step, as NEST counts."""
        return (self.steps + 1) * self.dt_ms

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Rates:
    """The mean rate of a population in bins of `bin_ms`; the last bin may be shorter."""

    hz: np.ndarray  # (bins,)
    bin_ms: float

    @property
    def times_ms(self) -> np.ndarray:
        """Where each bin starts."""
        return np.arange(len(self.hz)) * self.bin_ms


@dataclass
class Trace:
    """The values of `neurons` at `times_ms`, each the end of a step: (samples, neurons)."""

    times_ms: np.ndarray
    values: np.ndarray
    neurons: np.ndarray
    every_ms: float
    unit: str = ""  # of `values`, where the State has one


class StoredSpikes(Mapping[str, Spikes]):
    """The spikes of a run that are in a file: a population is read when it is asked for."""

    def __init__(self, path: str, sizes: dict[str, int], dt: float, first: int, steps: int) -> None:
        self.path = path
        self._sizes, self._dt, self._first, self._last = sizes, dt, first, first + steps

    def __getitem__(self, name: str) -> Spikes:
        n = self._sizes[name]
        times, ids = read_spikes(self.path, only=name)[name]
        steps = nearest_steps(times, self._dt).astype(np.int64) - 1
        mine = slice(*np.searchsorted(steps, (self._first, self._last)))
        return Spikes(
            (steps[mine] - self._first).astype(np.int32), ids[mine].astype(np.int32), n, self._dt
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


@dataclass
class Result:
    """What a simulation recorded, and how it ran.

    `spikes`, `rates` and `rates_hz` (the mean over the run) are by population, `traces` by
    (population, State). With `simulate(to=...)` the spikes are in `file`, and read on use. `parts`
    has the path of each population, projection and input, by name, and the reason.
    """

    spikes: Mapping[str, Spikes]
    dt_ms: float
    steps: int
    path: str  # 'network_run' or 'for_loop'
    why: str
    compile_s: float
    wall_s: float
    rates_hz: dict[str, float] = field(default_factory=dict)
    rates: dict[str, Rates] = field(default_factory=dict)
    traces: dict[tuple[str, str], Trace] = field(default_factory=dict)
    file: str | os.PathLike | None = None
    parts: dict[str, Part] = field(default_factory=dict)

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
        trace and rate. ImportError without neo.

        >>> result.to_neo().segments[0].spiketrains[0].times         # doctest: +SKIP
        array([1.2, 7.3]) * ms
        """
        from .neo_block import neo_block

        return neo_block(self)


def joined(parts: list[tuple[np.ndarray, np.ndarray]], n: int, dt: float) -> Spikes:
    """The (steps, ids) of one chunk after the other as one train."""
    when, ids = zip(*(parts or [(np.zeros(0, np.int32),) * 2]), strict=True)
    return Spikes(np.concatenate(when), np.concatenate(ids), n, dt)


def unit_of(value: Any) -> str:
    """The unit of a quantity, '' for what is none."""
    return str(getattr(value, "unit", ""))
