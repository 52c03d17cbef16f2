"""A `Result` as objects of neo, which elephant and many others analyse."""

from __future__ import annotations

from typing import Any

import numpy as np

from .result import Result, refuse_trials


def neo_block(result: Result) -> Any:
    """See `Result.to_neo`."""
    try:
        import neo
        import quantities as pq
    except ImportError:
        raise ImportError("to_neo needs neo: `pip install neo`, or spikexla[all]") from None

    block = neo.Block(name="simulation", dt_ms=result.dt_ms, path=result.path)
    segment = neo.Segment(name="run")
    block.segments.append(segment)
    groups: dict[str, Any] = {}

    def add(population: str, item: Any) -> None:
        if population not in groups:
            groups[population] = neo.Group(name=population)
            block.groups.append(groups[population])
        groups[population].add(item)
        kind = segment.spiketrains if isinstance(item, neo.SpikeTrain) else segment.analogsignals
        kind.append(item)

    for name, spikes in result.spikes.items():
        refuse_trials("to_neo", spikes)
        begin, end = ((spikes.first + k) * spikes.dt_ms * pq.ms for k in (0, result.steps))
        order = np.argsort(spikes.ids, kind="stable")  # of each neuron in the order of time
        ends = np.searchsorted(spikes.ids[order], np.arange(1, spikes.n))
        for k, times in enumerate(np.split(spikes.times_ms[order], ends)):
            train = neo.SpikeTrain(times * pq.ms, t_start=begin, t_stop=end, population=name, id=k)
            add(name, train)
    for (name, state), trace in result.traces.items():
        if len(trace.times_ms):
            signal = neo.AnalogSignal(
                _one_trial(trace.values, 2),
                units=trace.unit or "dimensionless",
                t_start=trace.times_ms[0] * pq.ms,
                sampling_period=trace.every_ms * pq.ms,
                name=state,
                array_annotations={"id": trace.neurons},
            )
            add(name, signal)
    for name, rates in result.rates.items():
        signal = neo.AnalogSignal(
            _one_trial(rates.hz, 1)[:, None],
            units="Hz",
            t_start=rates.start_ms * pq.ms,
            sampling_period=rates.bin_ms * pq.ms,
            name="rate",
        )
        add(name, signal)
    return block


def _one_trial(values: np.ndarray, axes: int) -> np.ndarray:
    if values.ndim != axes:
        raise ValueError(
            f"to_neo: values of shape {values.shape} are of several trials, for which neo has no "
            "axis. Simulate one trial, or make the signals of each trial from result.traces."
        )
    return values
