"""From the States that `record.Trace` names to the probes of `network_run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.network_probe import Probe
from ..synapse.coba import COBA
from . import record
from .capture import Plan
from .not_a_plan import NotAPlan


class Watch(NamedTuple):
    """What a compiled chunk must know of a trace; which neurons, and when first, are arguments."""

    population: int
    variable: str | int  # a field of the kernel's State, or a port
    every: int

    def probe(self, index: Any, phase: Any) -> Probe:
        """The probe of `network_run`, which reads first after the step `phase`."""
        return Probe(self.population, self.variable, index, self.every, phase)


def watch(plan: Plan, trace: record.Probe) -> Watch:
    """Where the engine has the traced State. NotAPlan for one that it does not step."""
    for k, (population, ports) in enumerate(zip(plan.populations, plan.ports, strict=True)):
        kernel = population.kernel(any(isinstance(out, COBA) for _, out in ports))
        for field in kernel.State._fields:
            if getattr(population, field, None) is trace.state:
                return Watch(k, field, trace.every)
        for j, (synapse, _) in enumerate(ports):
            if synapse.g is trace.state:
                return Watch(k, j, trace.every)
    raise NotAPlan(trace.part, "trace", state=trace.label[1])


class Watched:
    """The traces of a run: arguments and results of its chunks."""

    def __init__(self, plan: Plan, traces: Sequence[record.Probe]) -> None:
        self._traces = traces
        self.watches = tuple(watch(plan, trace) for trace in traces)
        found = [np.unique(trace.index, return_inverse=True) for trace in traces]
        self.indices = [index.astype(np.int32) for index, _ in found]
        self._places = [places for _, places in found]  # of what was asked for, in its order

    def phases(self, at: int) -> list[np.int32]:
        """The steps of a chunk from `at` on before the first that is read."""
        return [np.int32(trace.first(at)) for trace in self._traces]

    def samples(self, rows: Sequence[Any], steps: int, at: int) -> list[np.ndarray]:
        """The values after each `every`-th step of a chunk, as they were asked for."""
        counts = [(at + steps) // watch.every - at // watch.every for watch in self.watches]
        three = zip(rows, counts, self._places, strict=True)
        return [np.asarray(x)[:count, places] for x, count, places in three]
