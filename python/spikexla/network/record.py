"""What `simulate(record=...)` keeps: `Spikes`, `Rates` and `Trace`, of chosen parts of a network.

>>> import spikexla as sx
>>> net = sx.network.COBANet(100, seed=1)
>>> wanted = {"N": [sx.record.Spikes(), sx.record.Rates(bin=5.0)]}
>>> result = sx.simulate(net, 20.0, record=wanted)
>>> result.rates["N"].hz.shape
(4,)
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import numpy as np

from ..dynamics import Dynamics
from ..module import Module
from ..neuron.base import Neuron
from ..state import State
from ..units import mantissa


@final
@dataclass(frozen=True)
class Spikes:
    """Every spike of a population."""


@final
@dataclass(frozen=True)
class Rates:
    """The mean rate of a population in bins of `bin` ms (or a quantity), whole steps each."""

    bin: Any = 1.0

    def steps(self, dt: float) -> int:
        """The steps in a bin. ValueError for no whole number of 1 or more."""
        try:
            ms = float(mantissa(self.bin, "ms", what="bin"))
        except (TypeError, ValueError):
            raise TypeError(f"record.Rates(bin={self.bin!r}) must be a time in ms.") from None
        steps = round(ms / dt) if math.isfinite(ms) else 0
        if steps < 1 or not math.isclose(steps * dt, ms, rel_tol=1e-6):
            raise ValueError(
                f"record.Rates(bin={self.bin!r}) must be a multiple of dt = {dt} ms, 1 or more of "
                f"it. Take for example {max(1, steps) * dt:g}."
            )
        return steps


@final
@dataclass(frozen=True)
class Trace:
    """The values of the State `state` after every `every`-th step: 'V' of neurons, 'g' of synapses.

    neurons: which elements, counted in the flattened population; None for all of them. `every`
    counts on from one call of `simulate` to the next. Values are (samples, *batch, neurons).
    """

    state: str = "V"
    neurons: Sequence[int] | np.ndarray | None = None
    every: int = 1


class Probe(NamedTuple):
    """A trace of a network that is there: elements `index` of `state`, which is `label`.

    Of each trial, where `state` has axes of `batch` before those of its part.
    """

    label: tuple[str, str]  # the part of the network, the name of the State
    part: Module
    state: State
    index: np.ndarray
    every: int
    batch: tuple[int, ...]

    @property
    def size(self) -> int:
        """The numbers in a sample."""
        return math.prod(self.batch) * len(self.index)

    def first(self, at: int) -> int:
        """How many steps from step `at` of the clock on pass before the first recorded one."""
        return -(at + 1) % self.every


class Wanted(NamedTuple):
    """What to record of a network."""

    spikes: dict[str, Neuron]
    rates: dict[str, tuple[Neuron, int]]  # with the steps in a bin
    traces: list[Probe]

    @property
    def rasters(self) -> dict[str, Neuron]:
        """The populations whose spikes are looked at."""
        return self.spikes | {name: n for name, (n, _) in self.rates.items()}


def wanted(record: Any, net: Module, dt: float) -> Wanted:
    """Reads `record`, as `simulate` takes it. Errors name what cannot be recorded."""
    nodes = {str(path): node for path, node in net.nodes().items()}
    populations = {name: n for name, n in nodes.items() if isinstance(n, Neuron)}
    out = Wanted({}, {}, [])
    if isinstance(record, Mapping):
        for name, items in record.items():
            if name not in nodes:
                raise ValueError(
                    f"record={{{name!r}: ...}} names no part of the network. It has the "
                    f"populations {', '.join(map(repr, populations)) or '(none)'}."
                )
            for item in _items(items):
                _add(out, name, nodes[name], item, dt)
    else:
        for item in _items(record):
            for name, n in populations.items():
                _add(out, name, n, item, dt)
    return out


def _items(record: Any) -> list:
    if isinstance(record, bool | np.bool_):
        return [Spikes()] if record else []
    items = list(record) if isinstance(record, list | tuple) else [record]
    for item in items:
        if not isinstance(item, Spikes | Rates | Trace):
            raise TypeError(
                f"record={item!r} must be True, False, one of record.Spikes(), record.Rates() and "
                "record.Trace(), a sequence of them, or a mapping from the name of a population "
                "to these."
            )
    return items


def _add(out: Wanted, name: str, node: Module, item: Any, dt: float) -> None:
    if isinstance(item, Trace):
        out.traces.append(_trace(name, node, item))
        if len({trace.label for trace in out.traces}) < len(out.traces):
            raise ValueError(
                f"record has two traces of {item.state!r} of {name!r}. Merge their neurons."
            )
        return
    if not isinstance(node, Neuron):
        raise ValueError(
            f"record={{{name!r}: {item}}}: {type(node).__name__} is no population of neurons and "
            "has no spikes. Record a Trace of one of its States."
        )
    if isinstance(item, Spikes):
        out.spikes[name] = node
    elif name in out.rates:
        raise ValueError(f"record has two Rates of {name!r}. Take the finer one.")
    else:
        out.rates[name] = node, item.steps(dt)


def _trace(name: str, node: Module, item: Trace) -> Probe:
    state = getattr(node, item.state, None) if isinstance(item.state, str) else None
    if not isinstance(state, State):
        states = [key for key, value in vars(node).items() if isinstance(value, State)]
        raise ValueError(
            f"record.Trace({item.state!r}): {name or 'the network'!r} ({type(node).__name__}) has "
            f"no State of that name; it has {', '.join(states) or 'none'}."
        )
    every = item.every
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or not 1 <= every < 2**31:
        raise ValueError(
            f"record.Trace(every={every!r}) must be a whole number of steps, 1 to 2^31 - 1."
        )
    leaves = jax.tree.leaves(state.value)
    if len(leaves) != 1:
        raise ValueError(
            f"record.Trace({item.state!r}) of {name!r} is no array but {len(leaves)} of them. Keep "
            "what is to be traced in a State of its own."
        )
    shape = np.shape(leaves[0])
    batch = leading(shape, node.in_size) if isinstance(node, Dynamics) else ()
    size = math.prod(shape[len(batch) :])
    if item.neurons is None:
        return Probe((name, item.state), node, state, np.arange(size), int(every), batch)
    index = np.asarray(item.neurons)
    if index.ndim != 1 or not index.size or index.dtype.kind not in "iu":
        mask = " Of a mask, give numpy.flatnonzero(mask)." if index.dtype.kind == "b" else ""
        raise ValueError(
            f"record.Trace(neurons={reprlib.repr(item.neurons)}) must be a sequence of whole "
            f"numbers, such as [0, 5].{mask}"
        )
    wrong = index[(index < 0) | (index >= size)]
    if wrong.size:
        trials = f" in each trial of {batch}" if batch else ""
        raise ValueError(
            f"record.Trace(neurons=...) asks for {wrong[0]}, but {item.state!r} of {name!r} has "
            f"{size} elements{trials}, 0 to {size - 1}."
        )
    return Probe((name, item.state), node, state, index, int(every), batch)


def batch_of(population: Neuron) -> tuple[int, ...]:
    """The axes of trials that the States of a population have before its own."""
    (V,) = jax.tree.leaves(population.V.value)
    return leading(np.shape(V), population.in_size)


def leading(shape: tuple[int, ...], own: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `shape` before those of a part; () for what does not end with these."""
    lead, end = shape[: -len(own)], shape[-len(own) :]
    return lead if end == own else ()
