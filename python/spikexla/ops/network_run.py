"""Many steps of a whole network in one call: populations, synapses, sparse projections."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import library
from .call import native_call, uses_native
from .network_probe import Probe, checked, place
from .network_reference import network_reference
from .neuron_kernel import NeuronKernel, check_compiled
from .wiring import Projection, Wiring, pack

NETWORK_RUN = "spikexla.network_run.v1"
INPUTS = ("I", "G", "jump")  # that a model may take, as csrc/fields.h has them; jump is always 0


class Port(NamedTuple):
    """Exponential synapses that all neurons of a population have, summed into one variable.

    A step adds `g value` to the current, and `g` to the conductance if `conductance`; then
    `g <- g decay`, and the spikes that arrive are added.
    """

    g: Any  # (size,)
    decay: Any  # exp(-dt / tau): () or (size,)
    value: Any  # reversal potential (conductance) or scale (current): () or (size,)
    conductance: bool


class Poisson(NamedTuple):
    """Random spikes to every neuron, through one of its population's ports; see `ops.poisson`."""

    port: int
    rng: Any  # uint32 (ceil(size / 64), 4, 16)
    thresholds: Any  # uint32 (most,)
    weight: Any  # () or (size,)


class Population(NamedTuple):
    """Neurons of one model under a constant drive."""

    kernel: NeuronKernel
    size: int
    state: Any  # kernel.State of (size,)
    params: Any  # kernel.Params of () or (size,)
    drive: Any  # current: () or (size,)
    hard: bool
    ports: tuple[Port, ...]
    poissons: tuple[Poisson, ...] = ()
    history: Any = None  # uint32 (steps kept, words): row j, what fired j + 2 steps ago


class After(NamedTuple):
    """What `network_run` returns, of each population."""

    states: list[Any]  # kernel.State
    gs: list[list[jax.Array]]  # of each port
    histories: list[jax.Array]  # uint32 (steps kept, ceil(size / 32))
    generators: list[list[jax.Array]]  # of each Poisson input
    rasters: list[jax.Array]  # uint32 (steps, ceil(size / 32)); (0, words) without `record`
    traces: list[jax.Array]  # of each probe: (ceil(steps / every), neurons); rows past the end: 0


def network_run(
    populations: Sequence[Population],
    projections: Sequence[Projection] | Wiring,
    steps: int,
    *,
    record: bool = True,
    probes: Sequence[Probe] = (),
    backend: str | None = None,
) -> After:
    """Advances a network by `steps` steps; a spike arrives one step after it was fired, or later.

    A delay of k steps adds k to that one step. Bit i of word w of a raster or history is neuron
    32 w + i. A population without a `history` had no spikes under way. The spikes that the states
    given stand for arrive in the first step, and are in no raster: they are of the step before it.

    Every target adds what arrives in the order of delay, projection and source: the native result
    is the same, bit for bit, for any number of threads, and whether the steps are made in one call
    or several. It has no gradient: train on the step-by-step path. Synapses are packed first
    (`ops.wiring.pack`); inside of `jax.jit`, pass what that gave. `probes` say which values to
    write down; g is read as the step leaves it, before it decays.

    Errors: ValueError for a negative number of steps, for shapes and for places that do not exist;
    TypeError for dtypes without a kernel, traced synapses and differentiation.
    """
    if not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"network_run: steps={steps!r} must be a whole number of 0 or more.")
    _check_kernels(populations)
    _check_populations(populations)
    dtype = jnp.asarray(populations[0].state[0]).dtype
    native = all(uses_native(backend, p.kernel.target("forward")) for p in populations)
    if native and dtype not in (np.float32, np.float64):
        raise TypeError(
            f"network_run: the native engine takes float32 and float64, but the state is {dtype}. "
            "Cast it, or use backend='xla'."
        )
    sizes, ports = [p.size for p in populations], [len(p.ports) for p in populations]
    if isinstance(projections, Wiring):
        wiring = projections
        wiring.check()
    else:
        _check_projections(populations, projections)
        wiring = pack(sizes, ports, projections, dtype)
    if (*wiring.sizes,) != (*sizes,) or (*wiring.ports,) != (*ports,):
        raise ValueError(
            f"network_run: the synapses were packed for populations of {wiring.sizes} neurons with "
            f"{wiring.ports} ports, but there are {(*sizes,)} with {(*ports,)}. Pack them again."
        )
    probes = checked(populations, probes)
    populations = [p._replace(history=_history(k, p, wiring)) for k, p in enumerate(populations)]
    args, shapes = _flatten(populations, wiring, steps, record, probes, dtype)
    fallback = _reference(populations, wiring, probes, steps, record)
    if not native:
        return _unflatten(populations, probes, fallback(*args))
    plan = _plan(populations, wiring, probes)
    out = native_call(
        NETWORK_RUN,
        args,
        shapes,
        reference=fallback,
        attributes={"plan": np.asarray(plan, np.int64), "steps": np.int64(steps)},
        in_place=sum(len(p.state) + len(p.ports) + 1 + len(p.poissons) for p in populations),
        vmap_method="sequential",
    )
    return _unflatten(populations, probes, out)


def _reference(
    populations: Sequence[Population], wiring: Wiring, probes: Any, steps: int, record: bool
) -> Callable:
    """The reference on flat operands.

    It is kept with the program, so it holds the structure and none of the arrays.
    """
    its, packed, looks = jax.tree.map(
        lambda x: 0 if isinstance(x, jax.Array) else x, (populations, wiring, probes)
    )
    stored = wiring.stored

    def reference(*args: Any) -> Any:
        if not stored:
            raise ValueError(
                "network_run: rows of synapses that are not stored are drawn by the native engine "
                "on the CPU only. Store them (stored=True), or use backend='native' on a CPU."
            )
        return network_reference(*_rebuild(its, packed, looks, args), steps, record)

    return reference


def _check_kernels(populations: Sequence[Population]) -> None:
    """What a network gives is what the models take; a field is found by its name."""
    if not populations:
        raise ValueError("network_run: there are no populations. Give one or more.")
    for k, p in enumerate(populations):
        what, takes = f"network_run: population {k} ({p.kernel.name})", p.kernel.Inputs._fields
        if "I" not in takes or not set(takes) <= {*INPUTS}:
            raise ValueError(
                f"{what} takes the inputs {takes}, but a network gives a current I, and a "
                "conductance G and a jump to those that have them. Name the inputs so, or step "
                "the model by neuron_scan."
            )
        if "G" not in takes and any(port.conductance for port in p.ports):
            raise ValueError(
                f"{what} takes no conductance G, but has a port that is one. Make the port a "
                "current, or take a model with G."
            )
        for own, fields in ((p.state, p.kernel.State), (p.params, p.kernel.Params)):
            if len(own) != len(fields._fields):
                raise ValueError(
                    f"{what} is given {len(own)} arrays for the fields {fields._fields} of its "
                    f"{fields.__name__}. Give one each, in that order."
                )


def _check_populations(populations: Sequence[Population]) -> None:
    """Checks sizes once; below, they are trusted."""
    for k, p in enumerate(populations):
        own = [(x, (p.size,)) for x in (*p.state, *(port.g for port in p.ports))]
        shared = [*p.params, p.drive, *(x for port in p.ports for x in (port.decay, port.value))]
        shared += [q.weight for q in p.poissons]
        own += [(q.rng, (-(-p.size // 64), 4, 16)) for q in p.poissons]
        own += [(x, (p.size,)) for x in shared if jnp.size(x) != 1]
        bad = [jnp.shape(x) for x, shape in own if jnp.shape(x) != shape]
        if bad or p.size < 1:
            raise ValueError(
                f"network_run: population {k} has {p.size} neurons and arrays of shapes {bad}. "
                f"States and g are ({p.size},), generators ({-(-p.size // 64)}, 4, 16), all else "
                f"({p.size},) or one number; 1 or more neurons."
            )
        if any(not 0 <= q.port < len(p.ports) for q in p.poissons):
            raise ValueError(
                f"network_run: population {k} has a Poisson input to port "
                f"{[q.port for q in p.poissons]}, but {len(p.ports)} ports."
            )


def _check_projections(
    populations: Sequence[Population], projections: Sequence[Projection]
) -> None:
    for k, q in enumerate(projections):
        exists = 0 <= q.pre < len(populations) and 0 <= q.post < len(populations)
        exists = exists and 0 <= q.low <= q.high <= populations[q.pre].size
        if not exists or not 0 <= q.port < len(populations[q.post].ports):
            raise ValueError(
                f"network_run: projection {k} goes from [{q.low}, {q.high}) of population {q.pre} "
                f"to port {q.port} of population {q.post}, which do not all exist."
            )
        n_pre, n_post = q.high - q.low, populations[q.post].size
        if (q.conn.n_pre, q.conn.n_post) != (n_pre, n_post):
            raise ValueError(
                f"network_run: projection {k} connects {q.conn.n_pre} sources to {q.conn.n_post} "
                f"targets, but there are {n_pre} and {n_post}."
            )
        shape = getattr(getattr(q.conn, "indices", None), "shape", None)  # a rule has none
        if q.weights is not None and jnp.size(q.weights) != 1 and jnp.shape(q.weights) != shape:
            raise ValueError(
                f"network_run: projection {k} has weights of shape {jnp.shape(q.weights)}, which "
                f"must be one number{'' if shape is None else f' or {shape}, one a synapse'}."
            )


def _history(k: int, p: Population, wiring: Wiring) -> jax.Array:
    shape = wiring.kept, -(-p.size // 32)
    if p.history is None:
        return jnp.zeros(shape, jnp.uint32)
    if jnp.shape(p.history) != shape or jnp.asarray(p.history).dtype != np.uint32:
        raise ValueError(
            f"network_run: population {k} has a history of shape {jnp.shape(p.history)}; with "
            f"{wiring.kept} steps kept it is uint32 {shape}, bits of neurons."
        )
    return jnp.asarray(p.history)


def _models() -> list[str]:
    """The compiled models in the library's order, which is how the plan names them."""
    names = (k.model for k in library.kernels().values() if k.platform == "cpu" and k.model)
    return list(dict.fromkeys(names))


def _plan(populations, wiring, probes):
    """The whole numbers of a network as csrc/ffi/network_plan.h reads them."""
    models = _models()
    for p in populations:
        check_compiled(p.kernel)
    ports = [port for p in populations for port in p.ports]
    plan = [wiring.slices, len(populations)]
    for p in populations:
        plan += [models.index(p.kernel.name), p.size, int(p.hard), len(p.ports), len(p.poissons)]
    poissons = [q for p in populations for q in p.poissons]
    plan += [int(port.conductance) for port in ports] + [q.port for q in poissons]
    plan += [wiring.first_delay, wiring.delays, wiring.kept]
    plan += [int(wiring.stored), int(wiring.by_synapse), len(wiring.bundles)]
    for b in wiring.bundles:
        plan += [b.pre, b.low, b.high]
    plan += [len(probes)]
    for q in probes:
        plan += [q.population, place(populations[q.population].kernel, q), int(q.every)]
    return plan


def _flatten(populations, wiring, steps, record, probes, dtype):
    """(operands, result shapes) as csrc/ffi/network_plan.h reads them."""
    ports = [port for p in populations for port in p.ports]
    poissons = [q for p in populations for q in p.poissons]
    own = [x for p in populations for x in p.state] + [port.g for port in ports]
    shared = [x for p in populations for x in (*p.params, p.drive)]
    shared += [x for port in ports for x in (port.decay, port.value)]
    args = [jnp.asarray(x, dtype) for x in own] + [p.history for p in populations]
    args += [jnp.asarray(q.rng, jnp.uint32) for q in poissons]
    args += [jnp.asarray(x, dtype) for x in shared]
    for q in poissons:
        args += [jnp.asarray(q.thresholds, jnp.uint32), jnp.asarray(q.weight, dtype)]
    args += [wiring.starts, wiring.runs, wiring.targets, jnp.asarray(wiring.weights, dtype)]
    args += [x for q in probes for x in (q.index, q.phase)]
    shapes = [((p.size,), dtype) for p in populations for _ in p.state]
    shapes += [((p.size,), dtype) for p in populations for _ in p.ports]
    shapes += [(p.history.shape, jnp.uint32) for p in populations]
    shapes += [(jnp.shape(q.rng), jnp.uint32) for q in poissons]
    shapes += [((steps if record else 0, -(-p.size // 32)), jnp.uint32) for p in populations]
    shapes += [((q.rows(steps), len(q.index)), dtype) for q in probes]
    return args, shapes


def _rebuild(populations, wiring, probes, args):
    """The populations, the wiring and the probes with the arrays of `_flatten` put back."""
    take = _taker(args)
    states = [p.kernel.State(*take(len(p.state))) for p in populations]
    gs = [take(len(p.ports)) for p in populations]
    histories = take(len(populations))
    generators = [take(len(p.poissons)) for p in populations]
    params = [(p.kernel.Params(*take(len(p.params))), *take(1)) for p in populations]
    synapses = [[take(2) for _ in p.ports] for p in populations]
    random = [
        tuple(Poisson(q.port, rng, *take(2)) for q, rng in zip(p.poissons, its, strict=True))
        for p, its in zip(populations, generators, strict=True)
    ]
    pops = [
        p._replace(
            state=state,
            params=constants,
            drive=drive,
            history=history,
            poissons=poissons,
            ports=tuple(
                Port(g, decay, value, port.conductance)
                for port, g, (decay, value) in zip(p.ports, g_all, two, strict=True)
            ),
        )
        for p, state, g_all, history, poissons, (constants, drive), two in zip(
            populations, states, gs, histories, random, params, synapses, strict=True
        )
    ]
    wiring = wiring.with_arrays(*take(4))
    probes = [q._replace(index=index, phase=phase) for q in probes for index, phase in (take(2),)]
    return pops, wiring, probes


def _unflatten(populations, probes, out):
    take = _taker(out)
    states = [p.kernel.State(*take(len(p.state))) for p in populations]
    gs = [take(len(p.ports)) for p in populations]
    histories = take(len(populations))
    generators = [take(len(p.poissons)) for p in populations]
    rasters = take(len(populations))
    return After(states, gs, histories, generators, rasters, take(len(probes)))


def _taker(arrays):
    """A function that returns the next n of `arrays`."""
    rest = iter(arrays)
    return lambda n: list(itertools.islice(rest, n))
