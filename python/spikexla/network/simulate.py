"""simulate: many steps of a network, by the engine where it knows the network, else by a loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import environ
from ..backend import backend as _backend
from ..module import Module
from ..neuron.base import Neuron
from ..ops.raster import unpack_bits
from ..units import mantissa
from .capture import NotAPlan, capture
from .engine import Engine
from .loop import Loop

RASTER_BYTES = 64 << 20  # the most that the spikes of one chunk take, as bits
MOST_STEPS = 2**31 - 1  # the step of a spike is an int32


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
class Result:
    """What a simulation recorded, and how it ran."""

    spikes: dict[str, Spikes]
    dt_ms: float
    steps: int
    path: str  # 'network_run' or 'for_loop'
    why: str
    compile_s: float
    wall_s: float
    rates_hz: dict[str, float] = field(default_factory=dict)

    @property
    def duration_ms(self) -> float:
        """The time simulated."""
        return self.steps * self.dt_ms


def simulate(
    net: Module,
    duration: Any,
    *,
    inputs: tuple = (),
    record: bool = True,
    chunk_steps: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
    backend: str | None = None,
) -> Result:
    """Calls `net.update(*inputs)` for `duration` (ms or a quantity) and records all spikes.

    The States of `net` go on from where they are and end where a loop over `net(*inputs)` would
    end: a simulation can be stopped, looked at, saved and continued. A network of populations,
    exponential synapses and sparse projections runs in `network_run`, many steps in one native
    call; any other module in a compiled loop. The result says which, and why.

    After an interruption the States hold the last finished chunk of `chunk_steps` steps. `progress`
    is called with (steps done, all steps) after each chunk.

    Errors: ValueError for a duration or chunk that is not positive, for one of 2^31 steps or more,
    and for batched populations when `record` is on; TypeError for what is no Module.

    >>> import spikexla as sx
    >>> net = sx.network.COBANet(500, seed=1)
    >>> result = sx.simulate(net, 20.0)
    >>> result.steps, result.path
    (200, 'network_run')
    """
    if not isinstance(net, Module):
        raise TypeError(f"simulate: net={net!r} is no Module. Give a network, not its class.")
    if not isinstance(inputs, tuple | list):
        raise TypeError(
            f"simulate: inputs={inputs!r} must be a tuple of the arguments of update(), such as "
            "(20.0,)."
        )
    dt = environ.get_dt_ms()
    steps = _count_steps(duration, dt)
    if chunk_steps is not None and (chunk_steps < 1 or int(chunk_steps) != chunk_steps):
        raise ValueError(f"chunk_steps={chunk_steps} must be a whole number of 1 or more.")
    inputs = tuple(inputs)
    populations = {str(k): n for k, n in net.nodes().items() if isinstance(n, Neuron)}
    chunk = chunk_steps or _chunk(steps, populations)
    chosen = _backend.resolve(backend)
    plan, why = None, "the backend is 'xla'"
    if chosen == "native":
        try:
            plan, why = capture(net, inputs), "all its parts are known to the engine"
        except NotAPlan as error:
            why = str(error)
    with _backend(chosen):
        run = Engine(plan, record) if plan else Loop(net, inputs, populations, record)
        result = _drive(run, steps, chunk, progress)
    path = "network_run" if plan else "for_loop"
    names = {id(n): name for name, n in populations.items()}
    spikes = {
        names[id(n)]: _join(parts, n.size, dt)
        for n, parts in zip(run.populations, result.parts, strict=True)
    }
    done = Result(spikes, dt, steps, path, why, result.compile_s, result.wall_s)
    if record:
        seconds = done.duration_ms / 1e3
        done.rates_hz = {name: len(s) / s.n / seconds for name, s in spikes.items()}
    return done


def _count_steps(duration: Any, dt: float) -> int:
    number = mantissa(duration, "ms", what="duration")
    try:
        ms = float(number)
    except (TypeError, ValueError):
        raise TypeError(f"duration={duration!r} must be a time: ms, or a quantity.") from None
    if not math.isfinite(ms) or ms <= 0:
        raise ValueError(f"duration={duration!r} must be positive and finite, in ms.")
    if ms / dt > MOST_STEPS:
        raise ValueError(
            f"duration={duration!r} is {ms / dt:.3g} steps of dt = {dt} ms; at most {MOST_STEPS} "
            "can be made in one call. Simulate in several calls: the States go on."
        )
    steps = round(ms / dt)
    if steps < 1:
        raise ValueError(f"duration={duration!r} is shorter than one step of dt = {dt} ms.")
    return steps


def _chunk(steps: int, populations: dict[str, Neuron]) -> int:
    words = sum(-(-n.size // 32) for n in populations.values())
    most = max(1, RASTER_BYTES // max(1, 4 * words))
    return min(steps, most, max(1000, -(-steps // 20)))


@dataclass
class _Done:
    parts: list[list[tuple[np.ndarray, np.ndarray]]]  # of each population: (steps, ids) a chunk
    compile_s: float = 0.0
    wall_s: float = 0.0


def _drive(run: Any, steps: int, chunk: int, progress: Callable | None) -> _Done:
    """Runs chunk after chunk; compiled first, so that the two times can be told apart."""
    done = _Done([[] for _ in run.populations])
    start = time.perf_counter()
    sizes = [chunk] * (steps // chunk) + ([steps % chunk] if steps % chunk else [])
    for n in dict.fromkeys(sizes):
        run.compile(n)
    done.compile_s = time.perf_counter() - start
    start, at = time.perf_counter(), 0
    for n in sizes:
        rasters = run.advance(n, at)
        for parts, raster in zip(done.parts, rasters, strict=True):
            when, ids = unpack_bits(np.asarray(raster))
            parts.append((when + np.int32(at), ids))
        at += n
        if progress is not None:
            progress(at, steps)
    done.wall_s = time.perf_counter() - start
    return done


def _join(parts: list, n: int, dt: float) -> Spikes:
    nothing = [(np.zeros(0, np.int32), np.zeros(0, np.int32))]
    when, ids = zip(*(parts or nothing), strict=True)
    return Spikes(np.concatenate(when), np.concatenate(ids), n, dt)
