"""`Engine`: a captured network in `network_run`."""

from __future__ import annotations

import functools
import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import environ
from ..neuron.base import Neuron
from ..ops import library
from ..ops.network_run import Population, Port, network_run
from ..ops.neuron_kernel import NeuronKernel
from ..ops.wiring import Projection, Wiring, pack
from ..synapse.coba import COBA
from .capture import Fed, Plan


class _Structure(NamedTuple):
    """What a compiled chunk depends on beside shapes; equal networks share the program."""

    kernels: tuple[NeuronKernel, ...]
    sizes: tuple[int, ...]
    hard: tuple[bool, ...]
    kinds: tuple[tuple[bool, ...], ...]  # of each population's ports: conductance or current


class Engine:
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
