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
from ..atomic import Transaction
from ..backend import Within, resolve
from ..clock import clock_of, clocks_in
from ..module import Module
from ..neuron.base import Neuron
from ..ops import library
from ..ops.network_run import NETWORK_RUN
from ..state import has_tracer
from ..steps import whole_steps
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
from .place import placed
from .recorder import Recorder, Start
from .result import Result
from .sink import Sink
from .watch import watch

CHUNK_BYTES = 64 << 20  # the most that the spikes of one chunk take, as bits, and its traces
CHUNK_STEPS = (1000, 10_000)  # between these, a 20th of the run: memory does not grow with it
MOST_STEPS = 2**31 - 1  # the step of a spike is an int32


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
    end: a simulation can be stopped, looked at, saved and continued. So does its time, which is
    what `environ.get('i')` (the steps made) and `get('t')` (ms) say in `update`, and what all times
    of the Result count from: it is kept with `net` and is 0 after `init_all_states`.

    A network of populations, exponential synapses and sparse projections runs in `network_run`,
    many steps in one native call; any other module in a compiled loop, under `jax.disable_jit` too,
    which is kept for the next call, also with other arrays of jax in `inputs`.
    `print(result.report())` says which, and why.

    What is delivered is recorded: neurons that start above the threshold fire in the first step.

    record: True, all spikes; False, nothing; or what `sx.record` has (`Spikes()`, `Rates(bin=1.0)`,
    `Trace('V', neurons=[0, 1], every=10)`), one or a sequence for every population, or a mapping
    from the names of parts to these. The engine traces the States of neurons and the g of synapses.
    Of populations with a batch, rates and traces have its axes and spikes their `trials`.
    to: a SONATA file that the spikes are written to, chunk by chunk, instead of memory; it must be
    new, or be continued with `append=True`, from its end where the time of `net` is less. Or a
    `network.Sink` of one's own.
    chunk: the time (ms or a quantity) after which spikes are fetched, written and reported.
    progress: True for a bar (needs rich), or a function of (steps done, all steps).

    Ctrl-C stops after the chunk in hand, a second one at once. Whatever ends a run early, also a
    full disk, the States and the record are both those of the last finished chunk, and the
    exception has the record as its attribute `result`: the next call goes on from there.

    Errors: ValueError for a duration or chunk that is not a positive multiple of dt, for one of
    2^31 steps or more, for what `record` names and is not there, for inputs that wait for the next
    step, for arrays that do not fit together or are on several devices, for a V that becomes NaN,
    and for a batch whose spikes are to be written; TypeError for what is no Module and inside of
    traced functions; MemoryError for traces that do not fit; FileExistsError, OSError and
    ImportError for `to`.

    >>> import spikexla as sx
    >>> net = sx.network.COBANet(500, seed=1)
    >>> result = sx.simulate(net, 20.0)
    >>> result.steps, result.path
    (200, 'network_run')
    """
    _check(net, inputs)
    inputs = tuple(inputs)
    chosen = resolve(backend)
    with placed(net, inputs) as devices, Within(chosen), jax.disable_jit(False):
        run = _Run(net, duration, inputs, record, chunk, chosen, devices)
        if to is not None and not run.wanted.spikes:
            raise ValueError(f"simulate: to={to!r} is for spikes, but record={record!r} has none.")
        with contextlib.closing(run.recorder(to, append)) as recorder:
            return run.drive(recorder, progress)


class _Run:
    """A call of `simulate`: what is asked for is checked here, and then done by `drive`."""

    def __init__(
        self,
        net: Module,
        duration: Any,
        inputs: tuple,
        record: Any,
        chunk: Any,
        backend: str,
        devices: int,
    ) -> None:
        self.net, self.inputs, self.dt = net, inputs, environ.get_dt_ms()
        self.steps = steps = _count_steps(duration, self.dt, "duration")
        self.wanted = records.wanted(record, net, self.dt)
        fits.check_memory(self.wanted, steps)
        self.plan, self.how = _plan(net, inputs, self.wanted, backend, devices)
        size = (
            _chunk(steps, net, self.wanted, self.plan is None)
            if chunk is None
            else _count_steps(chunk, self.dt, "chunk")
        )
        self.sizes = [size] * (steps // size) + ([steps % size] if steps % size else [])
        clock = clock_of(net)
        self.start = Start(clock.step, clock.in_steps(self.dt))
        if self.plan is None and clock.step + steps > MOST_STEPS:
            raise ValueError(
                f"simulate: {clock.step} steps are made, and {steps} more would be too many for "
                f"environ.get('i'), which counts to {MOST_STEPS}. Start anew: init_all_states(net)."
            )

    def recorder(self, to: str | os.PathLike | Sink | None, append: bool) -> Recorder:
        """What keeps the record; opens the file."""
        return Recorder(self.wanted, self.steps, self.dt, self.start, to, append)

    def drive(self, recorder: Recorder, progress: bool | Callable[[int, int], Any]) -> Result:
        """Compiles, and runs chunk after chunk."""
        begun = time.perf_counter()
        run: Any = (
            Engine(self.plan, bool(self.wanted.rasters), self.wanted.traces)
            if self.plan is not None
            else Loop(
                self.net,
                self.inputs,
                self.wanted.rasters,
                self.wanted.traces,
                self.start.time - self.start.step,
            )
        )
        for n in dict.fromkeys(self.sizes):  # before the run, so that the times can be told apart
            run.compile(n)
        if self.start.step == 0:
            recorder.begin({name: n.get_spike() for name, n in self.wanted.rasters.items()})
        with reporting(progress, "simulate", self.steps) as report:
            compiled = time.perf_counter()

            def result() -> Result:
                return Result(
                    dt_ms=self.dt,
                    **self.how,
                    compile_s=compiled - begun,
                    wall_s=time.perf_counter() - compiled,
                    **recorder.results(),
                )

            try:
                _drive(run, self.net, recorder, self.sizes, self.start.step, report)
            except BaseException as error:
                vars(error)["result"] = partial = result()
                error.add_note(
                    f"simulate: {partial.steps} of {self.steps} steps are done and recorded; the "
                    "States are those after them. What was recorded is the attribute `result` of "
                    "this exception."
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
    net: Module, inputs: tuple, wanted: records.Wanted, chosen: str, devices: int = 1
) -> tuple[Plan | None, dict[str, Any]]:
    """What the engine runs, or None; and what a Result tells of that."""
    platform = library.default_platform()
    try:
        if chosen != "native":
            raise NotAPlan(None, "backend", backend=chosen)
        if devices > 1:
            raise NotAPlan(None, "spread", count=devices)
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
    steps = whole_steps(number, dt)
    if steps is None or steps < 1:
        raise ValueError(
            f"{what}={value!r} must be a multiple of dt = {dt} ms, 1 or more of it. Take for "
            f"example {max(1, round(ms / dt)) * dt:.10g}."
        )
    return steps


def _chunk(steps: int, net: Module, wanted: records.Wanted, looped: bool) -> int:
    """The steps of a chunk: few enough for memory and for news, enough to be worth a call."""
    neurons = [n for n in net.nodes().values() if isinstance(n, Neuron)]
    words = sum(math.prod(records.batch_of(n)) * -(-n.size // 32) for n in neurons)
    every = [1 if looped else probe.every for probe in wanted.traces]  # a loop gives every step
    sizes = [2 * probe.size for probe in wanted.traces]  # of up to 64 bits
    words += sum(size / k for size, k in zip(sizes, every, strict=True))
    most = max(1, int(CHUNK_BYTES // max(1, 4 * words)))
    least, enough = CHUNK_STEPS
    return min(steps, most, max(least, min(enough, -(-steps // 20))))


def _drive(
    run: Any, net: Module, recorder: Recorder, sizes: Sequence[int], first: int, report: Callable
) -> None:
    """Runs chunk after chunk: each is in the States and in the record, or in neither."""
    clocks, at = clocks_in(net), 0
    names = {id(n): name for name, n in recorder.wanted.rasters.items()}
    neurons = {str(path): n for path, n in net.nodes().items() if isinstance(n, Neuron)}
    with patient() as stop_if_asked:
        for n in sizes:
            with Transaction(keep=True):
                out = [np.asarray(x) for x in run.advance(n, first + at)]
                jax.effects_barrier()  # what update() calls, it has called
                pairs = zip(run.populations, out[: len(run.populations)], strict=True)
                fits.check_numbers(neurons, at, n)
                rasters = {names[id(p)]: raster for p, raster in pairs if id(p) in names}
                for clock in clocks:
                    clock.advance(n, recorder.dt)
                recorder.take(rasters, out[len(run.populations) :], n)
            at += n
            report(at, sum(sizes))
            stop_if_asked()
