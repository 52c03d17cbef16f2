"""Sets many buffers to their start values in one call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .call import native_call, same_mesh_axes, uses_native
from .reverse_only import reverse_only


def reset(
    buffers: Sequence[jax.Array],
    values: Sequence[Any],
    *,
    mask: Any = None,
    backend: str | None = None,
) -> list[jax.Array]:
    """Returns `values`, each broadcast to the shape and cast to the dtype of its buffer.

    Donated buffers are filled in place, so that no page of memory is fresh. `values` are constants
    or arrays that broadcast against the trailing axes. With `mask`, bool `(trials,)`, only those
    indices of every buffer's leading axis are set; the others keep what they hold.

    Errors: ValueError if a value does not broadcast or the mask does not fit, TypeError for a mask
    that is not bool and for forward-mode differentiation of the native path.

    >>> import jax.numpy as jnp
    >>> [x.tolist() for x in reset([jnp.ones((2, 2)), jnp.ones(2)], [0.0, jnp.arange(2.0)])]
    [[[0.0, 0.0], [0.0, 0.0]], [0.0, 1.0]]
    """
    buffers = [jnp.asarray(b) for b in buffers]
    if len(buffers) != len(values):
        raise ValueError(
            f"reset: {len(buffers)} buffers but {len(values)} values. Give one for each buffer."
        )
    values = [_trailing(k, v, b) for k, (v, b) in enumerate(zip(values, buffers, strict=True))]
    if mask is None:
        mask = jnp.ones((), bool)
    else:
        mask = jnp.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(
                f"reset: mask has dtype {mask.dtype}, but is bool: which trials to set. For the "
                "indices of trials, give jnp.zeros(trials, bool).at[indices].set(True)."
            )
        bad = [b.shape for b in buffers if b.shape[:1] != mask.shape]
        if mask.ndim != 1 or bad:
            raise ValueError(
                f"reset: mask has shape {mask.shape}, which must be (trials,), the leading axis of "
                f"every buffer; it is not that of {bad or 'a vector'}."
            )
    if not buffers:
        return []
    if not uses_native(backend):
        return list(_reference(*buffers, *values, mask))
    operands = reverse_only("reset", same_mesh_axes((*buffers, *values, mask)))
    return list(_compiled(tuple((x.shape, x.dtype) for x in operands[:-1]), *operands))


def _trailing(k, value, buffer):
    """The value with its dtype settled and no axis to broadcast inside the kernel."""
    value = jnp.asarray(value, buffer.dtype)
    try:
        jnp.broadcast_shapes(value.shape, buffer.shape)
        fits = value.ndim <= buffer.ndim
    except ValueError:
        fits = False
    if not fits or any(v > b for v, b in zip(value.shape[::-1], buffer.shape[::-1], strict=False)):
        raise ValueError(
            f"reset: value {k} has shape {value.shape}, which does not broadcast to its buffer's "
            f"{buffer.shape}."
        )
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    if value.shape != buffer.shape[buffer.ndim - value.ndim :]:
        value = jnp.broadcast_to(value, buffer.shape[buffer.ndim - value.ndim :])
    return value


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _native(shapes, *operands):
    n = len(shapes) // 2
    return native_call(
        "spikexla.reset.v1",
        operands,
        shapes[:n],
        reference=_reference,
        attributes={},
        in_place=n,
        vmap_method="sequential",
    )


def _native_fwd(shapes, *operands):
    return _native(shapes, *operands), operands[-1]


def _native_bwd(shapes, mask, cotangents):
    """The transpose of a selection, which is linear: any operands have the same."""
    zeros = [jnp.zeros(shape, dtype) for shape, dtype in shapes]
    return *jax.vjp(lambda *xs: _reference(*xs, mask), *zeros)[1](tuple(cotangents)), None


_native.defvjp(_native_fwd, _native_bwd)
_compiled = jax.jit(_native, static_argnums=0, inline=True)  # an eager call is compiled once


def _reference(*args):
    n = len(args) // 2
    buffers, values, mask = args[:n], args[n : 2 * n], args[2 * n]
    full = [jnp.broadcast_to(v, b.shape) for v, b in zip(values, buffers, strict=True)]
    if mask.ndim == 0:
        return tuple(full)
    wide = [mask.reshape(-1, *(1,) * (b.ndim - 1)) for b in buffers]
    return tuple(jnp.where(m, v, b) for m, v, b in zip(wide, full, buffers, strict=True))
