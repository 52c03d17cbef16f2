"""`Engine`: a captured network in `network_run`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import environ
from ..neuron.base import Neuron
from ..ops import library
from ..ops.network_run import Poisson, Population, Port, network_run
from ..ops.neuron_kernel import NeuronKernel
from ..ops.wiring import Wiring
from ..synapse.coba import COBA
from ..transform.storing import at_once
from . import record as records
from . import under_way
from .capture import Fed, Plan
from .packed import packed
from .under_way import Sent
from .watch import Watch, Watched


class _Structure(NamedTuple):
    """What a compiled chunk depends on beside shapes; equal networks share the program."""

    kernels: tuple[NeuronKernel, ...]
    sizes: tuple[int, ...]
    hard: tuple[bool, ...]
    kinds: tuple[tuple[bool, ...], ...]  # of each population's ports: conductance or current
    sent: tuple[Sent, ...]  # by the projections with delays
    random: tuple[tuple[int, ...], ...]  # the ports of each population's Poisson inputs
    watches: tuple[Watch, ...]  # what is traced


class Engine:
    """A captured network in `network_run`. NotAPlan for traces that the engine does not make."""

    def __init__(self, plan: Plan, record: bool, traces: Sequence[records.Probe] = ()) -> None:
        self.plan, self.populations, self.record = plan, plan.populations, record
        self.watched = Watched(plan, traces)
        kinds = tuple(tuple(isinstance(o, COBA) for _, o in its) for its in plan.ports)
        self.structure = _Structure(
            tuple(p.kernel(any(k)) for p, k in zip(plan.populations, kinds, strict=True)),
            tuple(p.size for p in plan.populations),
            tuple(p.spk_reset == "hard" for p in plan.populations),
            kinds,
            tuple(self._sent(f) for f in self._delayed()),
            tuple(tuple(self._port(k, p.syn) for p in its) for k, its in enumerate(plan.random)),
            self.watched.watches,
        )
        self.wiring = self._wiring()
        self.constants = self._constants()
        self.compiled: dict[int, Any] = {}

    def _place(self, f: Fed) -> tuple[int, int, int, int, int]:
        post = self._index(f.projection.post)
        return self._index(f.pre), f.low, f.high, post, self._port(post, f.projection.syn)

    def _index(self, population: Neuron) -> int:
        return next(k for k, p in enumerate(self.populations) if p is population)

    def _port(self, population: int, synapse: Any) -> int:
        ports = self.plan.ports[population]
        return next(k for k, (its, _) in enumerate(ports) if its is synapse)

    def _delayed(self) -> list[Fed]:
        return [f for f in self.plan.fed if f.projection.delayed]

    def _sent(self, f: Fed) -> Sent:
        return Sent(self._index(f.pre), f.low, f.high, f.projection.history.value.shape[0])

    def _histories(self) -> list[Any]:
        return [f.projection.history.value for f in self._delayed()]

    def _wiring(self) -> Wiring:
        fed, kinds = self.plan.fed, self.structure.kinds
        return packed(
            self.populations[0],
            [f.projection for f in fed],
            [self._place(f) for f in fed],
            self.structure.sizes,
            [len(its) for its in kinds],
            max((sent.steps for sent in self.structure.sent), default=0),
        )

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
        random = [
            [(p.thresholds(dt), _one_or_each(p.post.in_size, p.weight_mantissa)) for p in its]
            for its in plan.random
        ]
        params, ports = zip(*flat, strict=True)
        return list(params), list(ports), plan.drives, random, self.wiring, self.watched.indices

    def _values(self) -> Any:
        """The arrays of the States, which a chunk changes."""
        return (
            [p.kernel_state() for p in self.populations],
            [[synapse.kernel_state() for synapse, _ in its] for its in self.plan.ports],
            self._histories(),
            [[p.rng.value for p in its] for its in self.plan.random],
        )

    def compile(self, steps: int) -> None:
        """Compiles a chunk of this many steps."""
        given = self._values(), self.constants, self.watched.phases(0)
        leaves, tree = jax.tree.flatten(given)
        shapes = tuple(map(_shape, leaves))
        key = (library.default_device(), self.structure, steps, self.record, tree, shapes)
        self.compiled[steps] = _compiled(*key)

    def advance(self, steps: int, at: int) -> list:
        """Runs a chunk from step `at` of the clock on; returns the rasters, then the traces."""
        phases = self.watched.phases(at)
        after, rasters, rows = self.compiled[steps](self._values(), self.constants, phases)
        jax.block_until_ready((after, rasters, rows))
        at_once(functools.partial(self._write, *after))
        return [*rasters, *self.watched.samples(rows, steps, at)]

    def _write(self, states: list, gs: list, histories: list, generators: list) -> None:
        """Gives the States what a chunk made of `_values`."""
        for p, state in zip(self.populations, states, strict=True):
            p.set_kernel_state(state)
        for its, values in zip(self.plan.ports, gs, strict=True):
            for (synapse, _), g in zip(its, values, strict=True):
                synapse.set_kernel_state(g)
        for f, history in zip(self._delayed(), histories, strict=True):
            f.projection.history.value = history
        for its, values in zip(self.plan.random, generators, strict=True):
            for p, rng in zip(its, values, strict=True):
                p.rng.value = rng


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    """What a program is compiled for: also the device, where an array is bound to one."""
    bound = x.sharding if getattr(x, "committed", False) else None
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=bound)


def _one_or_each(in_size: tuple[int, ...], x: Any) -> Any:
    """A parameter that broadcasts to a population, as one number or one for each neuron."""
    return x.reshape(()) if x.size == 1 else jnp.broadcast_to(x, in_size).reshape(-1)


@functools.lru_cache(maxsize=32)
def _compiled(
    device: Any, structure: _Structure, steps: int, record: bool, tree: Any, shapes: tuple
) -> Any:
    """The program of a chunk, for `device`, on which JAX computes now."""
    run = jax.jit(functools.partial(_run, structure, steps, record))
    return run.lower(*jax.tree.unflatten(tree, shapes)).compile()


def _run(
    structure: _Structure, steps: int, record: bool, values: Any, constants: Any, phases: Any
) -> Any:
    """`steps` steps on plain arrays: (the values after them, rasters, traces)."""
    states, gs = jax.tree.map(lambda x: x.reshape(-1), values[:2])
    histories, generators = values[2:]
    params, synapses, drives, random, wiring, indices = constants
    ports = [
        tuple(Port(g, decay, value, kind) for g, (decay, value), kind in zip(*three, strict=True))
        for three in zip(gs, synapses, structure.kinds, strict=True)
    ]
    poissons = [
        tuple(Poisson(port, rng, *law) for port, rng, law in zip(*three, strict=True))
        for three in zip(structure.random, generators, random, strict=True)
    ]
    sizes, sent = structure.sizes, structure.sent
    populations = [
        Population(kernel, size, state, param, drive, hard, its, drawn, history)
        for kernel, size, hard, state, param, drive, its, drawn, history in zip(
            structure.kernels,
            sizes,
            structure.hard,
            states,
            params,
            drives,
            ports,
            poissons,
            under_way.merged(sent, histories, sizes, wiring.kept),
            strict=True,
        )
    ]
    probes = [
        watch.probe(*its) for watch, *its in zip(structure.watches, indices, phases, strict=True)
    ]
    after = network_run(populations, wiring, steps, record=record, probes=probes)
    flat = (after.states, after.gs)
    states, gs = jax.tree.map(lambda x, old: x.reshape(old.shape), flat, values[:2])
    histories = under_way.parted(sent, after.histories, sizes)
    return (states, gs, histories, after.generators), after.rasters, after.traces
