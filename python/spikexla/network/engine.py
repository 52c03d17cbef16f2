"""`Engine`: a captured network in `network_run`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import environ
from ..ops.network_run import Population, Port, Projection, network_run
from ..ops.neuron_kernel import NeuronKernel
from ..synapse.coba import COBA
from .capture import Fed, Plan


class _Structure(NamedTuple):
    """What a compiled chunk depends on beside shapes; equal networks share the program."""

    kernels: tuple[NeuronKernel, ...]
    sizes: tuple[int, ...]
    hard: tuple[bool, ...]
    kinds: tuple[tuple[bool, ...], ...]  # of each population's ports: conductance or current
    places: tuple[
        tuple[int, int, int, int, int], ...
    ]  # (pre, low, high, post, port) of projections


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
            tuple(self._place(f) for f in plan.fed),
        )
        self.constants = self._constants()
        self.compiled: dict[int, Any] = {}

    def _place(self, f: Fed) -> tuple[int, int, int, int, int]:
        index = {id(p): k for k, p in enumerate(self.populations)}
        post = index[id(f.projection.post)]
        synapses = [synapse for synapse, _ in self.plan.ports[post]]
        port = next(k for k, synapse in enumerate(synapses) if synapse is f.projection.syn)
        return index[id(f.pre)], f.low, f.high, post, port

    def _constants(self) -> Any:
        """All that a step reads and does not write, as arguments: nothing is baked in."""
        dt, plan = environ.get_dt_ms(), self.plan
        pairs = zip(plan.populations, self.structure.kinds, strict=True)
        params = [p.derived(dt, any(kinds)) for p, kinds in pairs]
        synapses = [[(s.decay(dt), _value(out)) for s, out in its] for its in plan.ports]
        flat = [
            jax.tree.map(functools.partial(_one_or_each, p.in_size), both)
            for p, both in zip(plan.populations, zip(params, synapses, strict=True), strict=True)
        ]
        fed = [(f.projection.comm.conn, f.projection.comm.weight_mantissa) for f in plan.fed]
        return ([params for params, _ in flat], [ports for _, ports in flat], plan.drives, fed)

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
    params, synapses, drives, fed = constants
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
    projections = [
        Projection(*place, *both) for place, both in zip(structure.places, fed, strict=True)
    ]
    *after, rasters = network_run(populations, projections, steps, record=record)
    return jax.tree.map(lambda x, old: x.reshape(old.shape), tuple(after), values), rasters


def _value(out: Any) -> Any:
    return jnp.asarray(out.E_mantissa if isinstance(out, COBA) else out.scale_mantissa)
