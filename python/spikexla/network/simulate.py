"""simulate: many steps of a network, by the engine where it knows the network, else by a loop."""

from __future__ import annotations

import functools
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ, transform
from ..backend import backend as _backend
from ..module import Module
from ..neuron.base import Neuron
from ..ops import library
from ..ops.network_run import Population, Port, network_run
from ..ops.neuron_kernel import NeuronKernel
from ..ops.raster import pack_bits, unpack_bits
from ..ops.wiring import Projection, Wiring, pack
from ..synapse.coba import COBA
from ..transform.trace import Traced, commit, read
from ..units import mantissa
from .capture import Fed, NotAPlan, Plan, capture

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
        run = _Engine(plan, record) if plan else _Loop(net, inputs, populations, record)
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


class _Structure(NamedTuple):
    """What a compiled chunk depends on beside shapes; equal networks share the program."""

    kernels: tuple[NeuronKernel, ...]
    sizes: tuple[int, ...]
    hard: tuple[bool, ...]
    kinds: tuple[tuple[bool, ...], ...]  # of each population's ports: conductance or current


class _Engine:
    """A captured network in `network_run`."""

    def __init__(self, plan: Plan, record: bool) -> None:
        self.plan, self.populations, self.record = plan, plan.populations, record
        kinds = tuple(tuple(isinstance(o, COBA) for _, o in its) for its in plan.ports)
        self.structure = _Structure(
            tuple(p.kernel(any(k)) for p, k in zip(plan.populations, kinds, strict=True)),
            tuple(p.size for p in plan.populations),
            tuple(p.spk_reset == "hard" for p in plan.populations),
            kinds,
        )
        self.wiring = self._wiring()
        self.constants = self._constants()
        self.compiled: dict[int, Any] = {}

    def _place(self, f: Fed) -> tuple[int, int, int, int, int]:
        index = {id(p): k for k, p in enumerate(self.populations)}
        post = index[id(f.projection.post)]
        synapses = [synapse for synapse, _ in self.plan.ports[post]]
        port = next(k for k, synapse in enumerate(synapses) if synapse is f.projection.syn)
        return index[id(f.pre)], f.low, f.high, post, port

    def _wiring(self) -> Wiring:
        """The packed synapses; those of the last run if nothing in them has changed."""
        fed = self.plan.fed
        arrays = [(f.projection.comm.conn, f.projection.comm.weight_mantissa) for f in fed]
        places = [self._place(f) for f in fed]
        sizes, ports = self.structure.sizes, [len(kinds) for kinds in self.structure.kinds]
        dtype = self.populations[0].kernel_state()[0].dtype
        what = (library.native().thread_limit(), dtype, places, sizes, ports)
        last = _WIRED.get(self.populations[0])
        if last is not None and last.what == what and _same(last.arrays, arrays):
            return last.wiring
        projections = [
            Projection(*place, *both) for place, both in zip(places, arrays, strict=True)
        ]
        wiring = pack(sizes, ports, projections, dtype)
        _WIRED[self.populations[0]] = _Wired(what, arrays, wiring)
        return wiring

    def _constants(self) -> Any:
        """All that a step reads and does not write, as arguments: nothing is baked in."""
        dt, plan = environ.get_dt_ms(), self.plan
        pairs = zip(plan.populations, self.structure.kinds, strict=True)
        params = [p.derived(dt, any(kinds)) for p, kinds in pairs]
        synapses = [
            [(s.decay(dt), jnp.asarray(p.port_value(s, out, dt))) for s, out in its]
            for p, its in zip(plan.populations, plan.ports, strict=True)
        ]
        flat = [
            jax.tree.map(functools.partial(_one_or_each, p.in_size), both)
            for p, both in zip(plan.populations, zip(params, synapses, strict=True), strict=True)
        ]
        return (
            [params for params, _ in flat],
            [ports for _, ports in flat],
            plan.drives,
            self.wiring,
        )

    def _values(self) -> Any:
        """The arrays of the States: of the neurons, and the g of their synapses."""
        states = [p.kernel_state() for p in self.populations]
        return states, [[synapse.kernel_state() for synapse, _ in its] for its in self.plan.ports]

    def compile(self, steps: int) -> None:
        """Compiles a chunk of this many steps."""
        leaves, tree = jax.tree.flatten((self._values(), self.constants))
        shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in leaves)
        self.compiled[steps] = _compiled(self.structure, steps, self.record, tree, shapes)

    def advance(self, steps: int, at: int) -> list:
        """Runs a chunk, gives the States their new values and returns the rasters."""
        (states, gs), rasters = self.compiled[steps](self._values(), self.constants)
        for p, state in zip(self.populations, states, strict=True):
            p.set_kernel_state(state)
        for its, values in zip(self.plan.ports, gs, strict=True):
            for (synapse, _), g in zip(its, values, strict=True):
                synapse.set_kernel_state(g)
        return jax.block_until_ready((rasters, states))[0]


class _Wired(NamedTuple):
    """The synapses of the last run of a network, and what they were packed from."""

    what: tuple
    arrays: list
    wiring: Wiring


# By the network's first population: what is packed lives as long as that.
_WIRED: weakref.WeakKeyDictionary[Neuron, _Wired] = weakref.WeakKeyDictionary()


def _same(old: list, new: list) -> bool:
    """Whether these are the very arrays, which do not change."""
    old, new = jax.tree.leaves(old), jax.tree.leaves(new)
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))


def _one_or_each(in_size: tuple[int, ...], x: Any) -> Any:
    """A parameter that broadcasts to a population, as one number or one for each neuron."""
    return x.reshape(()) if x.size == 1 else jnp.broadcast_to(x, in_size).reshape(-1)


@functools.lru_cache(maxsize=32)
def _compiled(structure: _Structure, steps: int, record: bool, tree: Any, shapes: tuple) -> Any:
    run = jax.jit(functools.partial(_run, structure, steps, record))
    return run.lower(*jax.tree.unflatten(tree, shapes)).compile()


def _run(structure: _Structure, steps: int, record: bool, values: Any, constants: Any) -> Any:
    """`steps` steps on plain arrays: ((states, gs), rasters)."""
    states, gs = jax.tree.map(lambda x: x.reshape(-1), values)
    params, synapses, drives, wiring = constants
    ports = [
        tuple(Port(g, decay, value, kind) for g, (decay, value), kind in zip(*three, strict=True))
        for three in zip(gs, synapses, structure.kinds, strict=True)
    ]
    populations = [
        Population(kernel, size, state, param, drive, hard, its)
        for kernel, size, hard, state, param, drive, its in zip(
            structure.kernels,
            structure.sizes,
            structure.hard,
            states,
            params,
            drives,
            ports,
            strict=True,
        )
    ]
    after = network_run(populations, wiring, steps, record=record)
    states = jax.tree.map(lambda x, old: x.reshape(old.shape), (after.states, after.gs), values)
    return states, after.rasters


class _Loop:
    """Any module, stepped in a compiled loop over its own `update`."""

    def __init__(self, net: Module, inputs: tuple, populations: dict, record: bool) -> None:
        self.net, self.inputs, self.dt = net, inputs, environ.get_dt_ms()
        self.populations = list(populations.values()) if record else []
        for name, n in populations.items():
            if record and n.V.value.shape != n.in_size:
                raise ValueError(
                    f"simulate: {name or 'the population'} has states of shape {n.V.value.shape}, "
                    f"but spikes are recorded without a batch axis: {n.in_size}. Use record=False, "
                    "or transform.for_loop over net.update."
                )
        self.compiled: dict[int, tuple[Traced, Any]] = {}

    def _step(self, i: Any) -> list:
        with environ.context(i=i, t=i * self.dt):
            self.net.update(*self.inputs)
        return [pack_bits((n.get_spike() != 0).reshape(-1)) for n in self.populations]

    def compile(self, steps: int) -> None:
        """Compiles a chunk of this many steps."""

        def run(first: Any) -> list:
            return transform.for_loop(self._step, first + jnp.arange(steps, dtype=jnp.int32))

        traced = Traced(run, (jnp.int32(0),))
        chunk = jax.jit(traced.call).lower([jnp.int32(0)], read(traced.states)).compile()
        self.compiled[steps] = traced, chunk

    def advance(self, steps: int, at: int) -> list:
        """Runs a chunk, gives the States their new values and returns the rasters."""
        traced, chunk = self.compiled[steps]
        out, written, _ = jax.block_until_ready(chunk([jnp.int32(at)], read(traced.states)))
        commit(traced.written, written, traced.written_trees)
        return traced.result(out)
