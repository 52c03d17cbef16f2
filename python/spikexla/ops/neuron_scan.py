"""Many steps of a neuron model in one call, with a fused backward pass."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import surrogate as surrogates
from .call import native_call, same_mesh_axes, uses_native
from .neuron_kernel import NeuronKernel, check_compiled, check_surrogate, is_hard, prepare
from .reverse_only import reverse_only


def neuron_scan(
    kernel: NeuronKernel,
    state: Any,
    params: Any,
    inputs: Any,
    *,
    reset: str = "soft",
    surrogate: surrogates.Surrogate = surrogates.DEFAULT,
    checkpoint_every: int = 16,
    backend: str | None = None,
) -> tuple[Any, jax.Array]:
    """Advances `time` steps; returns the last state and the spikes `(time, *lanes)`.

    `state` fields are `(*lanes)`, `params` broadcast to that, `inputs` broadcast to `(time,
    *lanes)` with at least one of them carrying the time axis. The backward pass stores the state
    only every `checkpoint_every` steps and recomputes the rest in cache, so its residual is `time /
    checkpoint_every` states and not `time`.

    Errors: ValueError for shapes that do not broadcast, TypeError for dtypes without a kernel and
    for forward-mode differentiation of the native path.
    """
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every={checkpoint_every} must be at least 1.")
    native = uses_native(backend, kernel.target("forward"))
    check_surrogate(surrogate, native)
    state, params, inputs, lanes = prepare(kernel, state, params, inputs, time=True, native=native)
    hard = is_hard(reset)
    if native:
        operands = tuple(jnp.asarray(x, state[0].dtype) for x in surrogate.operands)
        every = int(min(checkpoint_every, max(1, max(x.shape[0] for x in inputs))))
        run = _native_scan(kernel, hard, surrogate.name, every, len(lanes))
        flat = same_mesh_axes((*state, *params, *inputs, *operands))
        flat = reverse_only("neuron_scan", flat)
        last, spikes = run(*_split(kernel, flat))
    else:
        last, spikes = reference_scan(kernel, hard, surrogate, state, params, inputs)
    return kernel.State(*last), spikes


def reference_scan(kernel, hard, surrogate, state, params, inputs):
    """What `neuron_scan` means: `lax.scan` over the model's own step."""
    steps = max(x.shape[0] for x in inputs)
    if 0 in (x.shape[0] for x in inputs):
        steps = 0
    params = kernel.Params(*params)
    moving = tuple(x if x.shape[0] == steps and steps != 1 else None for x in inputs)
    still = tuple(None if m is not None else x[0] for m, x in zip(moving, inputs, strict=True))

    def body(state, now):
        x = kernel.Inputs(*(s if m is None else m for m, s in zip(now, still, strict=True)))
        state, z = kernel.step(kernel.State(*state), params, x, hard=hard, spike=surrogate)
        return tuple(state), z

    return jax.lax.scan(body, tuple(state), moving, length=steps)


def _split(kernel, flat):
    """(state, params, inputs, operands) out of one flat tuple."""
    sizes = (len(kernel.State._fields), len(kernel.Params._fields), len(kernel.Inputs._fields))
    ends = np.cumsum(sizes)
    parts = np.split(np.arange(len(flat)), ends)
    return tuple(tuple(flat[k] for k in part) for part in parts)


@jax.tree_util.register_static
class _Wanted(tuple):
    """Which gradients somebody asked for: (any parameter, input 0, input 1, ...)."""


@functools.cache
def _native_scan(kernel: NeuronKernel, hard: bool, name: str, every: int, rank: int):
    """The differentiable native scan of one model; arrays are (*state), (*params), ... tuples."""
    check_compiled(kernel)

    @jax.custom_vjp
    def run(state, params, inputs, operands):
        last, spikes, _ = forward(kernel, hard, every, rank, state, params, inputs, keep=False)
        return last, spikes

    def run_forward(*primals):
        state, params, inputs, operands = jax.tree.map(
            lambda p: p.value, primals, is_leaf=_is_primal
        )
        last, spikes, kept = forward(kernel, hard, every, rank, state, params, inputs, keep=True)
        wanted = _Wanted((any(p.perturbed for p in primals[1]), *(p.perturbed for p in primals[2])))
        return (last, spikes), (kept, params, inputs, operands, wanted)

    # Outside of `jax.jit` too, its program is made once for each set of shapes.
    transposed = jax.jit(functools.partial(backward, kernel, hard, name, every, rank), inline=True)

    def run_backward(saved, cotangents):
        *kept, wanted = saved
        return *transposed(tuple(kept), wanted, jax.tree.map(_solid, cotangents)), None

    run.defvjp(run_forward, run_backward, symbolic_zeros=True)
    return jax.jit(run, inline=True)  # eager shard_map takes symbolic zeros inside jit only


def _is_primal(x):
    return hasattr(x, "perturbed")


def forward(kernel, hard, every, rank, state, params, inputs, *, keep):
    """(last state, spikes, kept states): one native call. `keep` stores every `every`-th state."""
    S, lanes, dtype = len(state), state[0].shape, state[0].dtype
    steps = 0 if 0 in (x.shape[0] for x in inputs) else max(x.shape[0] for x in inputs)
    # Not even an empty result where none is wanted: XLA allocates it, at a tenth of a small step.
    kept_shapes = [((-(-steps // every), *lanes), dtype)] * S if keep else []

    def reference(*args):
        state, params, inputs, _ = _split(kernel, args)
        spike = surrogates.DEFAULT  # forward values do not depend on the surrogate
        pieces, spikes = [], []
        for first in range(0, steps, every):
            pieces.append(state)
            part = tuple(x if x.shape[0] == 1 else x[first : first + every] for x in inputs)
            short = min(every, steps - first)
            part = (jnp.broadcast_to(part[0], (short, *part[0].shape[1:])), *part[1:])
            state, z = reference_scan(kernel, hard, spike, state, params, part)
            spikes.append(z)
        zs = jnp.concatenate(spikes) if spikes else jnp.zeros((0, *lanes), dtype)
        kept = [
            jnp.stack([p[k] for p in pieces]) if pieces else jnp.zeros(shape, dtype)
            for k, (shape, dtype) in enumerate(kept_shapes)
        ]
        return (*state, zs, *kept)

    out = native_call(
        kernel.target("forward"),
        (*state, *params, *inputs),
        [(lanes, dtype)] * S + [((steps, *lanes), dtype), *kept_shapes],
        reference=reference,
        attributes={"lane_axes": np.int64(rank), "every": np.int64(every), "hard": bool(hard)},
        in_place=S,
    )
    return out[:S], out[S], out[S + 1 :]


def backward(kernel, hard, name, every, rank, saved, wanted, cotangents):
    """Cotangents of (state, params, inputs): one native call."""
    kept, params, inputs, operands = saved
    S, P = len(kept), len(params)
    steps = 0 if 0 in (x.shape[0] for x in inputs) else max(x.shape[0] for x in inputs)
    lanes, dtype = kept[0].shape[1:], kept[0].dtype
    d_state, d_spikes = cotangents
    if steps == 0:
        return d_state, *jax.tree.map(jnp.zeros_like, (params, inputs))
    d_inputs_shape = [(steps, *lanes) if w else (0,) * (rank + 1) for w in wanted[1:]]
    d_params_shape = [lanes if wanted[0] else (0,) * rank] * P

    def reference(*args):
        kept, params, inputs, rest = _split(kernel, args)
        d_state, d_spikes, operands = rest[:S], rest[S], rest[S + 1 :]
        spike = surrogates.make(name, *operands)
        wide = tuple(jnp.broadcast_to(x, (steps, *lanes)) for x in inputs)
        full = tuple(jnp.broadcast_to(p, lanes) for p in params)
        first = tuple(k[0] for k in kept)
        run = functools.partial(reference_scan, kernel, hard, spike)
        ds, dp, dx = jax.vjp(run, first, full, wide)[1]((tuple(d_state), d_spikes))
        dx = [
            d if w else jnp.zeros((0,) * (rank + 1), dtype)
            for d, w in zip(dx, wanted[1:], strict=True)
        ]
        dp = dp if wanted[0] else [jnp.zeros((0,) * rank, dtype)] * P
        return (*ds, *dx, *dp)

    out = native_call(
        kernel.target("backward"),
        (*kept, *params, *inputs, *d_state, d_spikes, *operands),
        [(lanes, dtype)] * S + [(s, dtype) for s in (*d_inputs_shape, *d_params_shape)],
        reference=reference,
        attributes={
            "lane_axes": np.int64(rank),
            "every": np.int64(every),
            "hard": bool(hard),
            "surrogate": np.int32(surrogates.NAMES.index(name)),
        },
    )
    X = len(inputs)
    d_inputs = tuple(
        _sum_to(d, x.shape) if w else None
        for d, x, w in zip(out[S : S + X], inputs, wanted[1:], strict=True)
    )
    d_params = tuple(
        _sum_to(d, p.shape) if wanted[0] else None
        for d, p in zip(out[S + X :], params, strict=True)
    )
    return out[:S], d_params, d_inputs


def _solid(cotangent):
    """A cotangent as an array; one that is zero by construction becomes a broadcast zero."""
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        aval: Any = cotangent.aval
        return jnp.zeros(aval.shape, aval.dtype)
    return cotangent


def _sum_to(d, shape):
    """Sums a gradient of all lanes over the axes that its operand repeats along."""
    axes = tuple(
        k for k, (have, want) in enumerate(zip(d.shape, shape, strict=True)) if have != want
    )
    return d.sum(axes, keepdims=True) if axes else d
