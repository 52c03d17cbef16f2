"""The event-driven product with a sparse matrix: y = init + spikes W."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .call import native_call, same_mesh_axes, uses_native
from .reverse_only import reverse_only

CHUNK = 32  # sources that one turn of the reference's loop serves
BLOCK = 32  # spikes that it counts together to find those sources
WIDTH = 32  # synapses of each of them, where rows differ in length


class Connection(Protocol):
    """What `spike_matvec` reads of a connectivity; `indptr` only if rows differ in length."""

    indices: Any
    n_post: int
    n_pre: int


class Operands(NamedTuple):
    """The checked operands: `indptr` is None if all rows are as long as `indices` has columns.

    `weights` are one value or like `indices`, `spikes` are `(*batch, n_pre)`, `init` is None or
    `(*batch, n_post)`.
    """

    indptr: jax.Array | None
    indices: jax.Array
    weights: jax.Array
    spikes: jax.Array
    init: jax.Array | None


def spike_matvec(
    conn: Connection,
    weights: Any,
    spikes: Any,
    *,
    init: Any = None,
    backend: str | None = None,
) -> jax.Array:
    """Adds the weights of all synapses of the sources that spiked: `(*batch, n_post)`.

    y[j] = init[j] + sum_i spikes[i] w_ij, over the synapses i -> j of `conn`. The work is
    proportional to the number of spikes.

    `weights` is one number or one a synapse, shaped like `conn.indices`. `spikes` is
    `(*batch, n_pre)`, bool or float; zeros are skipped. `init` is `(*batch, n_post)` or broadcasts
    to it, and its memory is reused where XLA finds it dead. The result has the dtype of weights and
    init.

    Order is part of the contract of the native kernel: a target adds to `init` its events by
    ascending source, then in the order of the row, for any number of threads.

    Equivalent to `init + spikes @ W` with the dense matrix W[i, j] = sum of the weights of i -> j.

    Errors: ValueError for shapes, TypeError for dtypes and for forward-mode differentiation of the
    native path.

    >>> import jax.numpy as jnp
    >>> from spikexla.connect import from_arrays
    >>> conn, _ = from_arrays([0, 0, 1], [1, 2, 0], n_pre=2, n_post=3)
    >>> spike_matvec(conn, 0.5, jnp.array([True, False])).tolist()
    [0.0, 0.5, 0.5]
    """
    native = uses_native(backend)
    operands = _prepare(conn, weights, spikes, init, native)
    if native:
        return _native(conn.n_post, *reverse_only("spike_matvec", _same_axes(operands)))
    return reference(conn.n_post, operands)


def _prepare(conn, weights, spikes, init, native) -> Operands:
    """Checks everything once; below, shapes and dtypes are trusted."""
    if not (hasattr(conn, "indices") and hasattr(conn, "n_pre") and hasattr(conn, "n_post")):
        raise TypeError(
            f"spike_matvec: conn is a {type(conn).__name__}, not a connectivity. Make one with "
            "spikexla.connect, for example from_dense(W) or from_scipy(W)."
        )
    indptr, indices = getattr(conn, "indptr", None), conn.indices
    spikes = jnp.asarray(spikes)
    if spikes.dtype != np.bool_ and not jnp.issubdtype(spikes.dtype, jnp.floating):
        raise TypeError(
            f"spike_matvec: spikes have dtype {spikes.dtype}. Use bool (events) or a float type."
        )
    if spikes.ndim == 0 or spikes.shape[-1] != conn.n_pre:
        raise ValueError(
            f"spike_matvec: spikes have shape {spikes.shape}, but the connectivity has "
            f"{conn.n_pre} sources, so (*batch, {conn.n_pre}) is needed. Are pre and post "
            "exchanged?"
        )
    dtype = _dtype(weights, spikes, init)
    if native and dtype not in (np.float32, np.float64):
        raise TypeError(
            f"spike_matvec: the native kernels take float32 and float64, but weights and init make "
            f"{dtype}. Cast them, or use backend='xla' for this call."
        )
    weights = jnp.asarray(weights, dtype)
    if weights.size == 1 and weights.shape != indices.shape:
        weights = weights.reshape(())
    if weights.ndim and weights.shape != indices.shape:
        raise ValueError(
            f"spike_matvec: weights have shape {weights.shape}, but must be one number or "
            f"{indices.shape}, one a synapse like conn.indices."
        )
    batch = spikes.shape[:-1]
    if init is not None:
        init = jnp.asarray(init, dtype)
        try:
            batch = np.broadcast_shapes(batch, init.shape[:-1])
            init = jnp.broadcast_to(init, (*batch, conn.n_post))
        except ValueError:
            raise ValueError(
                f"spike_matvec: init has shape {init.shape}, but must broadcast to "
                f"{(*spikes.shape[:-1], conn.n_post)}: the batch of spikes and the "
                f"{conn.n_post} targets of the connectivity."
            ) from None
    spikes = jnp.broadcast_to(spikes, (*batch, conn.n_pre))
    return Operands(
        indptr, indices, weights, spikes if spikes.dtype == np.bool_ else spikes.astype(dtype), init
    )


def _dtype(weights, spikes, init):
    """The float type of the result: that of weights and init; a bare number has none of its own."""
    given = [x for x in (weights, init) if x is not None and not _bare(x)]
    if not given:
        given = [spikes] if spikes.dtype != np.bool_ else [float]
    dtype = jnp.dtype(jnp.result_type(*given))
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"spike_matvec: weights and init make the dtype {dtype}, but sums of weights are "
            "floats. Cast the weights to float32."
        )
    return dtype


def _bare(x):
    return isinstance(x, (int, float)) or getattr(x, "weak_type", False)


def _same_axes(o: Operands) -> Operands:
    """The operands, all varying over the same mesh axes under `shard_map`."""
    leaves, tree = jax.tree.flatten(o)
    return jax.tree.unflatten(tree, same_mesh_axes(leaves))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _native(n_post, indptr, indices, weights, spikes, init):
    return _forward(n_post, Operands(indptr, indices, weights, spikes, init))


def _native_fwd(n_post, *operands):
    o = Operands(*operands)
    return _forward(n_post, o), o._replace(init=None if o.init is None else ())


def _native_bwd(n_post, o, dy):
    d_spikes = None if o.spikes.dtype == np.bool_ else _spikes_vjp(n_post, o, dy)
    return None, None, _weights_vjp(n_post, o, dy), d_spikes, None if o.init is None else dy


_native.defvjp(_native_fwd, _native_bwd)


# Outside of `jax.jit` too, a kernel's program is made once for each set of shapes.
_compiled_once = functools.partial(jax.jit, static_argnums=0, inline=True)


def _lead(o: Operands):
    """(indptr, indices, weights) as kernels take them, with axes of size 1 for the batch."""
    ones = (1,) * (o.spikes.ndim - 1)
    indptr = o.indices[:0, :0].reshape(0) if o.indptr is None else o.indptr
    return tuple(x.reshape(ones + x.shape) for x in (indptr, o.indices, o.weights))


def _unlead(indptr, indices, weights):
    """The inverse of `_lead`. A fallback looks at its arguments only, for `vmap` batches these."""
    lead = indptr.ndim - 1
    indptr, indices, weights = (x.reshape(x.shape[lead:]) for x in (indptr, indices, weights))
    return None if indices.ndim == 2 else indptr, indices, weights


@_compiled_once
def _forward(n_post, o: Operands):
    first = () if o.init is None else (o.init,)

    def fallback(*args):
        *init, indptr, indices, weights, spikes = args
        shared = _unlead(indptr, indices, weights)
        return (reference(n_post, Operands(*shared, spikes, init[0] if init else None)),)

    (y,) = native_call(
        "spikexla.spike_matvec.forward.v1",
        (*first, *_lead(o), o.spikes),
        [((*o.spikes.shape[:-1], n_post), o.weights.dtype)],
        reference=fallback,
        attributes={},
        in_place=len(first),
    )
    return y


@_compiled_once
def _spikes_vjp(n_post, o: Operands, dy):
    """d_spikes[i] = sum_k w_ik dy[target_ik]."""
    shape = o.spikes.shape

    def fallback(indptr, indices, weights, dy):
        indptr, indices, weights = _unlead(indptr, indices, weights)
        terms = weights * dy[..., indices]
        if indptr is None:
            return (terms.sum(-1),)
        zeros, terms = same_mesh_axes((jnp.zeros(shape, dy.dtype), terms))
        return (zeros.at[..., _sources(indptr, indices)].add(terms),)

    (d_spikes,) = native_call(
        "spikexla.spike_matvec.spikes_vjp.v1",
        (*_lead(o), dy),
        [(shape, dy.dtype)],
        reference=fallback,
        attributes={},
    )
    return d_spikes


@_compiled_once
def _weights_vjp(n_post, o: Operands, dy):
    """d_weights[i, k] = sum over the batch of spikes[i] dy[target_ik]; their sum for one weight."""
    *rows, weights = _lead(o)
    lead, shape = o.spikes.ndim - 1, weights.shape

    def fallback(indptr, indices, spikes, dy):
        indptr, indices, _ = _unlead(indptr, indices, indices)
        s = spikes[..., None] if indptr is None else spikes[..., _sources(indptr, indices)]
        terms = s * dy[..., indices]
        return (terms.sum(None if len(shape) == lead else tuple(range(lead))).reshape(shape),)

    (d_weights,) = native_call(
        "spikexla.spike_matvec.weights_vjp.v1",
        (*rows, o.spikes.astype(dy.dtype), dy),
        [(shape, dy.dtype)],
        reference=fallback,
        attributes={},
    )
    return d_weights.reshape(shape[lead:])


def reference(n_post: int, o: Operands) -> jax.Array:
    """What `spike_matvec` means, in pure JAX: event-driven, and differentiable in every mode."""
    if o.init is None:
        o = o._replace(init=jnp.zeros((*o.spikes.shape[:-1], n_post), o.weights.dtype))
    return _events(n_post, *_same_axes(o))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _events(n_post, indptr, indices, weights, spikes, init):
    """Collects the ids of active sources, then adds their rows, CHUNK sources a turn."""
    if 0 in (indices.size, spikes.size, init.size):
        return init
    n_pre, batch = spikes.shape[-1], math.prod(spikes.shape[:-1])
    values = spikes.reshape(-1).astype(weights.dtype)
    pick, events = _event_finder(values != 0)

    def add(y, k, turn):
        """Adds part `turn` of the rows of chunk `k`; also whether their last part is done."""
        at, fired = pick(k)
        source, shift = at % n_pre, at // n_pre * n_post
        s = values[at]
        if indptr is None:
            slot, live, done = (source,), fired[:, None], True
        else:
            begin = indptr[source]
            size = jnp.where(fired, indptr[source + 1] - begin, 0)
            step = turn * WIDTH + jnp.arange(WIDTH, dtype=size.dtype)
            live, done = step < size[:, None], (turn + 1) * WIDTH >= jnp.max(size)
            slot = (jnp.where(live, begin[:, None] + step, 0),)
        w = weights[slot] if weights.ndim else weights
        to = jnp.where(live, shift[:, None] + indices[slot], batch * n_post)
        more = jnp.broadcast_to(s[:, None] * w, to.shape)
        return y.at[to].add(more, mode="drop"), done

    def body(carry):
        k, turn, y = carry
        y, done = add(y, k, turn)
        return k + jnp.where(done, 1, 0), jnp.where(done, 0, turn + 1), y

    zero = jnp.zeros_like(events)
    start = (zero, zero, init.reshape(-1))
    return jax.lax.while_loop(lambda c: c[0] * CHUNK < events, body, start)[2].reshape(init.shape)


def _event_finder(active):
    """(pick, number of events): `pick(k)` is chunk k of the positions of events, and which exist.

    `jnp.nonzero` would pay a prefix sum and a scatter over all of `active`; here the prefix sum
    runs over blocks, and an event is looked up in its block when it is its turn.
    """
    blocks = jnp.pad(active, (0, -active.size % BLOCK)).reshape(-1, BLOCK)
    counts = jnp.sum(blocks, 1, dtype=jnp.int32)
    ends = jnp.cumsum(counts)

    def pick(k):
        event = k * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)
        block = jnp.searchsorted(ends, event, side="right", method="scan_unrolled")
        block = jnp.minimum(block, ends.size - 1).astype(jnp.int32)
        rank = event - (ends[block] - counts[block])
        inside = jnp.argmax(jnp.cumsum(blocks[block], 1, dtype=jnp.int32) > rank[:, None], 1)
        return block * BLOCK + inside.astype(jnp.int32), event < ends[-1]

    return pick, ends[-1]


@functools.partial(_events.defjvp, symbolic_zeros=True)
def _events_jvp(n_post, primals, tangents):
    o = Operands(*primals)
    *_, d_weights, d_spikes, d_init = tangents
    d_y = None if _is_zero(d_init) else d_init
    for field, d in (("weights", d_weights), ("spikes", d_spikes)):
        if not _is_zero(d):
            part = dense(n_post, o._replace(**{field: d}))
            d_y = part if d_y is None else d_y + part
    y = _events(n_post, *primals)
    return y, jnp.zeros_like(y) if d_y is None else d_y


def _is_zero(tangent):
    return (
        isinstance(tangent, jax.custom_derivatives.SymbolicZero)
        or tangent.dtype == jax.dtypes.float0
    )


def dense(n_post: int, o: Operands) -> jax.Array:
    """spikes W by visiting every synapse: linear in weights and in spikes."""
    batch = o.spikes.shape[:-1]
    if o.indptr is None:
        contributions = o.spikes[..., None] * o.weights
    else:
        contributions = o.spikes[..., _sources(o.indptr, o.indices)] * o.weights
    shape = batch + o.indices.shape
    contributions = jnp.broadcast_to(contributions, shape)
    y = jnp.zeros((*batch, n_post), contributions.dtype)
    return y.at[..., o.indices].add(contributions, mode="drop")


def _sources(indptr, indices):
    """The source of every synapse."""
    rows = jnp.arange(indptr.shape[0] - 1, dtype=jnp.int32)
    return jnp.repeat(rows, jnp.diff(indptr), total_repeat_length=indices.shape[0])
