"""simulate: many steps of a network, by the engine where it knows the network, else by a loop."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..backend import Within, resolve
from ..module import Module
from ..neuron.base import Neuron
from ..ops import library
from ..ops.network_run import NETWORK_RUN
from ..state import has_tracer
from ..transform.progress import reporting
from ..units import mantissa
from . import fits
from . import record as records
from .capture import Plan, capture
from .engine import Engine
from .interrupt import patient
from .loop import Loop
from .not_a_plan import NotAPlan
from .parts import ENGINE, LOOP, looped, planned
from .recorder import Recorder
from .result import Result
from .sink import Sink
from .watch import watch

CHUNK_BYTES = 64 << 20  # the most that the spikes of one chunk take, as bits, and its traces
CHUNK_STEPS = (1000, 10_000)  # between these, a 20th of the run: memory does not grow with it
MOST_STEPS = 2**31 - 1  # the step of a spike is an int32
NEAR = 0.01  # of a step: as near as float32 comes to 0.1 in 1000.1


@jax.transfer_guard("allow")  # parameters and records are on the host
def simulate(
    net: Module,
    duration: Any,
    *,
    inputs: tuple = (),
    record: Any = True,
    to: str | os.PathLike | Sink | None = None,
    append: bool = False,
    chunk: Any = None,
    progress: bool | Callable[[int, int], Any] = False,
    backend: str | None = None,
) -> Result:
    """Calls `net.update(*inputs)` for `duration` (ms or a quantity) and records what is asked for.

    The States of `net` go on from where they are and end where a loop over `net(*inputs)` would
    end: a simulation can be stopped, looked at, saved and continued. A network of populations,
    exponential synapses and sparse projections runs in `network_run`, many steps in one native
    call; any other module in a compiled loop, under `jax.disable_jit` too.
    `print(result.report())` says which, and why.

    record: True, all spikes; False, nothing; or what `sx.record` has (`Spikes()`, `Rates(bin=1.0)`,
    `Trace('V', neurons=[0, 1], every=10)`), one or a sequence for every population, or a mapping
    from the names of parts to these. The engine traces the States of neurons and the g of synapses.
    to: a SONATA file that the spikes are written to, chunk by chunk, instead of memory; it must be
    new, or be continued with `append=True`, its times going on from its end. Or a `network.Sink` of
    one's own.
    chunk: the time (ms or a quantity) after which spikes are fetched, written and reported.
    progress: True for a bar (needs rich), or a function of (steps done, all steps).

    Ctrl-C stops after the chunk in hand, a second one at once. Whatever ends a run early, also a
    full disk, the States and the record are both those of the last finished chunk, and the
    exception has the record as its attribute `result`: the next call goes on from there.

    Errors: ValueError for a duration or chunk that is not a positive multiple of dt, for one of
    2^31 steps or more, for what `record` names and is not there, for inputs that wait for the next
    step, for arrays that do not fit together, for a V that becomes NaN, and for batched populations
    whose spikes are recorded; TypeError for what is no Module and inside of traced functions;
    MemoryError for traces that do not fit; FileExistsError, OSError and ImportError for `to`.

    >>> import spikexla as sx
    >>> net = sx.network.COBANet(500, seed=1)
    >>> result = sx.simulate(net, 20.0)
    >>> result.steps, result.path
    (200, 'network_run')
    """
    dt = environ.get_dt_ms()
    _check(net, inputs)
    steps = _count_steps(duration, dt, "duration")
    wanted = records.wanted(record, net, dt)
    fits.check_memory(wanted, steps)
    if to is not None and not wanted.spikes:
        raise ValueError(f"simulate: to={to!r} is for spikes, but record={record!r} has none.")
    chosen = resolve(backend)
    plan, how = _plan(net, tuple(inputs), wanted, chosen)
    size = (
        _chunk(steps, net, wanted, plan is None)
        if chunk is None
        else _count_steps(chunk, dt, "chunk")
    )
    sizes = [size] * (steps // size) + ([steps % size] if steps % size else [])
    with Within(chosen), jax.disable_jit(False), contextlib.ExitStack() as stack:
        recorder = stack.enter_context(contextlib.closing(Recorder(wanted, steps, dt, to, append)))
        start = time.perf_counter()
        run: Any = (
            Engine(plan, bool(wanted.rasters), wanted.traces)
            if plan is not None
            else Loop(net, tuple(inputs), wanted.rasters, wanted.traces)
        )
        for n in dict.fromkeys(sizes):  # before the run, so that the two times can be told apart
            run.compile(n)
        report = stack.enter_context(reporting(progress, "simulate", steps))
        compiled = time.perf_counter()

        def result() -> Result:
            return Result(
                dt_ms=dt,
                **how,
                compile_s=compiled - start,
                wall_s=time.perf_counter() - compiled,
                **recorder.results(),
            )

        try:
            _drive(run, net, recorder, sizes, report)
        except BaseException as error:
            vars(error)["result"] = partial = result()
            error.add_note(
                f"simulate: {partial.steps} of {steps} steps are done and recorded; the States are "
                "those after them. What was recorded is the attribute `result` of this exception."
            )
            raise
        return result()


def _check(net: Any, inputs: Any) -> None:
    if not isinstance(net, Module):
        raise TypeError(f"simulate: net={net!r} is no Module. Give a network, not its class.")
    if not isinstance(inputs, tuple | list):
        raise TypeError(
            f"simulate: inputs={inputs!r} must be a tuple of the arguments of update(), such as "
            "(20.0,)."
        )
    if has_tracer((jnp.zeros(()), inputs)):
        raise TypeError(
            "simulate: called where jit, grad, vmap or a loop is traced, but it runs at once and "
            "records numbers. Call it outside, or use transform.for_loop over net.update there."
        )
    fits.check_parts(net)


def _plan(
    net: Module, inputs: tuple, wanted: records.Wanted, chosen: str
) -> tuple[Plan | None, dict[str, Any]]:
    """What the engine runs, or None; and what a Result tells of that."""
    platform = library.default_platform()
    try:
        if chosen != "native":
            raise NotAPlan(None, "backend", backend=chosen)
        if platform not in library.platforms(NETWORK_RUN):
            raise NotAPlan(None, "platform", platform=platform)
        if wanted.traces and platform != "cpu":
            raise NotAPlan(None, "traces", platform=platform)
        plan = capture(net, inputs)
        for trace in wanted.traces:
            watch(plan, trace)
    except NotAPlan as error:
        why, parts = looped(net, error)
        return None, {"path": LOOP, "why": why, "parts": parts}
    why = "all its parts are known to the engine"
    return plan, {"path": ENGINE, "why": why, "parts": planned(net, plan)}


def _count_steps(value: Any, dt: float, what: str) -> int:
    number = mantissa(value, "ms", what=what)
    try:
        if isinstance(number, bool | str):
            raise TypeError
        ms = float(number)
    except (TypeError, ValueError):
        raise TypeError(f"{what}={value!r} must be a time: ms, or a quantity.") from None
    if not math.isfinite(ms) or ms <= 0:
        raise ValueError(f"{what}={value!r} must be positive and finite, in ms.")
    if ms / dt > MOST_STEPS:
        raise ValueError(
            f"{what}={value!r} is {ms / dt:.3g} steps of dt = {dt} ms; at most {MOST_STEPS} "
            "can be made in one call. Simulate in several calls: the States go on."
        )
    steps = round(ms / dt)
    if steps < 1 or abs(ms / dt - steps) > NEAR:
        raise ValueError(
            f"{what}={value!r} must be a multiple of dt = {dt} ms, 1 or more of it. Take for "
            f"example {max(1, steps) * dt:.10g}."
        )
    return steps


def _chunk(steps: int, net: Module, wanted: records.Wanted, looped: bool) -> int:
    """The steps of a chunk: few enough for memory and for news, enough to be worth a call."""
    words = sum(-(-n.size // 32) for n in net.nodes().values() if isinstance(n, Neuron))
    every = [1 if looped else probe.every for probe in wanted.traces]  # a loop gives every step
    sizes = [2 * len(probe.index) for probe in wanted.traces]  # of up to 64 bits
    words += sum(size / k for size, k in zip(sizes, every, strict=True))
    most = max(1, int(CHUNK_BYTES // max(1, 4 * words)))
    least, enough = CHUNK_STEPS
    return min(steps, most, max(least, min(enough, -(-steps // 20))))


def _drive(
    run: Any, net: Module, recorder: Recorder, sizes: Sequence[int], report: Callable
) -> None:
    """Runs chunk after chunk: each is in the States and in the record, or in neither."""
    states, at = list(net.states().values()), 0
    names = {id(n): name for name, n in recorder.wanted.rasters.items()}
    neurons = {str(path): n for path, n in net.nodes().items() if isinstance(n, Neuron)}
    with patient() as stop_if_asked:
        for n in sizes:
            before = [state.value for state in states]
            try:
                out = [np.asarray(x) for x in run.advance(n, at)]
                pairs = zip(run.populations, out[: len(run.populations)], strict=True)
                fits.check_numbers(neurons, at, n)
                rasters = {names[id(p)]: raster for p, raster in pairs if id(p) in names}
                recorder.take(rasters, out[len(run.populations) :], n)
            except BaseException:
                for state, value in zip(states, before, strict=True):
                    state.value = value
                raise
            at += n
            report(at, sum(sizes))
            stop_if_asked()
