"""Many steps of a whole network in one call: populations, synapses, sparse projections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import surrogate as surrogates
from . import library
from .call import explain_forward_mode, native_call, uses_native
from .neuron_kernel import NeuronKernel
from .spike_matvec import Connection, spike_matvec


class Port(NamedTuple):
    """Exponential synapses that all neurons of a population have, summed into one variable.

    A step adds `g value` to the current, and `g` to the conductance if `conductance`; then
    `g <- g decay`, and the spikes that arrive are added.
    """

    g: Any  # (size,)
    decay: Any  # exp(-dt / tau): () or (size,)
    value: Any  # reversal potential (conductance) or scale (current): () or (size,)
    conductance: bool


class Population(NamedTuple):
    """Neurons of one model under a constant drive."""

    kernel: NeuronKernel
    size: int
    state: Any  # kernel.State of (size,)
    params: Any  # kernel.Params of () or (size,)
    drive: Any  # current: () or (size,)
    hard: bool
    ports: tuple[Port, ...]


class Projection(NamedTuple):
    """Sources [low, high) of population `pre` feed port `port` of population `post`."""

    pre: int
    low: int
    high: int
    post: int
    port: int
    conn: Connection
    weights: Any  # () or one a synapse


@explain_forward_mode("network_run")
def network_run(
    populations: Sequence[Population],
    projections: Sequence[Projection],
    steps: int,
    *,
    record: bool = True,
    backend: str | None = None,
) -> tuple[list[Any], list[list[jax.Array]], list[jax.Array]]:
    """Advances a network by `steps` steps; a spike arrives one step after it was fired.

    Returns, for each population, its last state, its ports' last `g`, and its raster: uint32
    (steps, ceil(size / 32)), bit i of word w being neuron 32 w + i; `(0, words)` without `record`.

    The native result is the same, bit for bit, for any number of threads, and whether the steps are
    made in one call or several. It has no gradient: train on the step-by-step path.

    Errors: ValueError for a negative number of steps, for shapes and for places that do not exist;
    TypeError for dtypes without a kernel and for differentiation.
    """
    if not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"network_run: steps={steps!r} must be a whole number of 0 or more.")
    _check(populations, projections)
    dtype = jnp.asarray(populations[0].state[0]).dtype
    if uses_native(backend) and dtype not in (np.float32, np.float64):
        raise TypeError(
            f"network_run: the native engine takes float32 and float64, but the state is {dtype}. "
            "Cast it, or use backend='xla'."
        )
    if not uses_native(backend):
        return _unflatten(populations, _reference(populations, projections, steps, record))
    args, shapes, plan = _flatten(populations, projections, steps, record, dtype)

    def fallback(*args):
        return _reference(*_rebuild(populations, projections, args), steps, record)

    out = native_call(
        "spikexla.network_run.v1",
        args,
        shapes,
        reference=fallback,
        attributes={"plan": np.asarray(plan, np.int64), "steps": np.int64(steps)},
        in_place=sum(len(p.state) + len(p.ports) for p in populations),
        vmap_method="sequential",
    )
    return _unflatten(populations, out)


def _check(populations: Sequence[Population], projections: Sequence[Projection]) -> None:
    """Checks sizes and places once; below, they are trusted."""
    if not populations:
        raise ValueError("network_run: there are no populations. Give one or more.")
    for k, p in enumerate(populations):
        own = [(x, (p.size,)) for x in (*p.state, *(port.g for port in p.ports))]
        shared = [*p.params, p.drive, *(x for port in p.ports for x in (port.decay, port.value))]
        own += [(x, (p.size,)) for x in shared if jnp.size(x) != 1]
        bad = [jnp.shape(x) for x, shape in own if jnp.shape(x) != shape]
        if bad or p.size < 1:
            raise ValueError(
                f"network_run: population {k} has {p.size} neurons and arrays of shapes {bad}. "
                f"States and g are ({p.size},), all else that or one number; 1 or more neurons."
            )
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
        if jnp.size(q.weights) != 1 and jnp.shape(q.weights) != q.conn.indices.shape:
            raise ValueError(
                f"network_run: projection {k} has weights of shape {jnp.shape(q.weights)}, which "
                f"must be one number or {q.conn.indices.shape}, one a synapse."
            )


def _models() -> list[str]:
    """The compiled models in the library's order, which is how the plan names them."""
    names = (k.model for k in library.kernels().values() if k.platform == "cpu" and k.model)
    return list(dict.fromkeys(names))


def _flatten(populations, projections, steps, record, dtype):
    """(operands, result shapes, plan) as csrc/ffi/network.cc reads them."""
    models = _models()
    ports = [port for p in populations for port in p.ports]
    plan = [len(populations)]
    for p in populations:
        plan += [models.index(p.kernel.name), p.size, int(p.hard), len(p.ports)]
    plan += [int(port.conductance) for port in ports]
    plan += [len(projections)]
    for q in projections:
        fan = q.conn.indices.shape[1] if q.conn.indices.ndim == 2 else 0
        plan += [q.pre, q.low, q.high, q.post, q.port, fan]
    real = [x for p in populations for x in p.state] + [port.g for port in ports]
    real += [x for p in populations for x in (*p.params, p.drive)]
    real += [x for port in ports for x in (port.decay, port.value)]
    args = [jnp.asarray(x, dtype) for x in real]
    for q in projections:
        begins = getattr(q.conn, "indptr", None)
        args.append(jnp.zeros(0, jnp.int32) if begins is None else jnp.asarray(begins))
        args += [jnp.asarray(q.conn.indices), jnp.asarray(q.weights, dtype)]
    shapes = [((p.size,), dtype) for p in populations for _ in p.state]
    shapes += [((p.size,), dtype) for p in populations for _ in p.ports]
    shapes += [((steps if record else 0, -(-p.size // 32)), jnp.uint32) for p in populations]
    return args, shapes, plan


def _rebuild(populations, projections, args):
    """The populations and projections with the arrays of `_flatten` put back."""
    take = _taker(args)
    states = [p.kernel.State(*take(len(p.state))) for p in populations]
    gs = [take(len(p.ports)) for p in populations]
    params = [(p.kernel.Params(*take(len(p.params))), *take(1)) for p in populations]
    synapses = [[take(2) for _ in p.ports] for p in populations]
    pops = [
        p._replace(
            state=state,
            params=constants,
            drive=drive,
            ports=tuple(
                Port(g, decay, value, port.conductance)
                for port, g, (decay, value) in zip(p.ports, g_all, two, strict=True)
            ),
        )
        for p, state, g_all, (constants, drive), two in zip(
            populations, states, gs, params, synapses, strict=True
        )
    ]
    return pops, [q._replace(weights=take(3)[2]) for q in projections]


def _unflatten(populations, out):
    take = _taker(out)
    states = [p.kernel.State(*take(len(p.state))) for p in populations]
    gs = [take(len(p.ports)) for p in populations]
    return states, gs, take(len(populations))


def _taker(arrays):
    """A function that returns the next n of `arrays`."""
    rest = iter(arrays)
    return lambda n: list(itertools.islice(rest, n))


def _reference(populations, projections, steps, record):
    """What `network_run` means: a scan over the step ops."""

    def body(carry, _):
        states, gs = carry
        spikes = [_spiked(p, s) for p, s in zip(populations, states, strict=True)]
        gs = [
            [g * port.decay for g, port in zip(gp, p.ports, strict=True)]
            for gp, p in zip(gs, populations, strict=True)
        ]
        for q in projections:
            active = spikes[q.pre][q.low : q.high]
            g = spike_matvec(q.conn, q.weights, active, init=gs[q.post][q.port], backend="xla")
            gs[q.post][q.port] = g
        states = [_advance(p, s, g) for p, s, g in zip(populations, states, gs, strict=True)]
        bits = [pack_bits(_spiked(p, s)) for p, s in zip(populations, states, strict=True)]
        return (states, gs), bits if record else None

    start = [p.state for p in populations], [[port.g for port in p.ports] for p in populations]
    (states, gs), rasters = jax.lax.scan(body, start, None, length=steps)
    if not record:
        rasters = [jnp.zeros((0, -(-p.size // 32)), jnp.uint32) for p in populations]
    return [*(x for s in states for x in s), *(g for gp in gs for g in gp), *(rasters or ())]


def _spiked(p, state):
    return state[0] >= p.params.V_th


def _advance(p, state, gs):
    I = p.drive
    for g, port in zip(gs, p.ports, strict=True):
        I = I + g * port.value
    inputs = {"I": I, "jump": jnp.zeros((), state[0].dtype)}
    if "G" in p.kernel.Inputs._fields:
        inputs["G"] = sum(g for g, port in zip(gs, p.ports, strict=True) if port.conductance)
    return p.kernel.step(
        state, p.params, p.kernel.Inputs(**inputs), hard=p.hard, spike=surrogates.DEFAULT
    )[0]


def pack_bits(spikes: jax.Array) -> jax.Array:
    """bool (size,) -> uint32 (ceil(size / 32),): bit i of word w is spike 32 w + i."""
    words = -(-spikes.shape[0] // 32)
    bits = jnp.zeros(words * 32, jnp.uint32).at[: spikes.shape[0]].set(spikes.astype(jnp.uint32))
    return (bits.reshape(words, 32) << jnp.arange(32, dtype=jnp.uint32)).sum(1, dtype=jnp.uint32)


def unpack_bits(raster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A raster (steps, words) as the step and the neuron of each spike, int32, in that order."""
    raster = np.ascontiguousarray(raster)
    total = int(np.bitwise_count(raster).sum())
    steps, ids = np.empty(total, np.int32), np.empty(total, np.int32)
    library.native().unpack_bits(raster, steps, ids)
    return steps, ids
