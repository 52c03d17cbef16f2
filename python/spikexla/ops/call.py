"""The seam: the only module that calls `jax.ffi`.

`native_call` wraps one XLA target into a function that behaves like any JAX function: it batches
without copying what is not batched, keeps its types under `shard_map`, falls back to its reference
on platforms without a kernel, and says what to do when it is differentiated.

Public JAX names this file leans on, last checked with 0.10.2 and 0.12.0: `jax.ffi.ffi_call` with
`vmap_method="expand_dims"`, `jax.custom_batching.custom_vmap`, `jax.lax.platform_dependent`,
`jax.typeof(x).mat`, `jax.lax.pcast`; and for a primitive of its own `jax.extend.core.Primitive`,
`jax.core.ShapedArray`, `jax.interpreters.mlir.lower_fun`, `jax.interpreters.batching`; these are
for `reverse_only.py` too, with `jax.interpreters.ad`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.custom_batching import custom_vmap
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from .. import backend as _backend
from . import library
from .reverse_only import no_derivative


def uses_native(backend: str | None, target: str | None = None) -> bool:
    """Whether a call with this `backend=` argument takes the compiled kernels.

    A `target` that was never compiled, such as that of a user's own model, runs its reference
    unless the call itself says `backend="native"`.
    """
    if _backend.resolve(backend) != "native":
        return False
    return target is None or backend is not None or library.has(target)


def native_call(
    name: str,
    args: Sequence[jax.Array],
    results: Sequence[tuple[tuple[int, ...], Any]],
    *,
    reference: Callable[..., Sequence[jax.Array]],
    attributes: dict[str, Any],
    in_place: int = 0,
    vmap_method: str = "expand_dims",
) -> tuple[jax.Array, ...]:
    """Calls the XLA target `name`, or `reference` on a platform that lacks it.

    `results` are the (shape, dtype) of the results. The first `in_place` arguments share their
    memory with the first results. `reference(*args)` returns the same results in pure JAX. A kernel
    that knows no leading axes says `vmap_method="sequential"`.
    """
    args = same_mesh_axes(args)
    _check_shardings(name, args)
    like = jax.typeof(args[0])
    shapes = tuple(like.update(shape=shape, dtype=jnp.dtype(dtype)) for shape, dtype in results)

    def ffi(*args):
        call = jax.ffi.ffi_call(
            name,
            shapes,
            vmap_method=vmap_method,
            input_output_aliases={k: k for k in range(in_place)},
        )
        return tuple(call(*args, **attributes))

    def traced_when_lowered(*args):
        return tuple(_reference_p.bind(*args, reference=reference, shapes=shapes))

    def on_any_platform(*args):
        branches = dict.fromkeys(library.platforms(name), ffi)
        return jax.lax.platform_dependent(*args, **branches, default=traced_when_lowered)

    with jax.named_scope(name):
        return _not_differentiable(name, _batched(on_any_platform, in_place))(*args)


# A reference is traced only where it is lowered, for a platform that lacks the kernel: to trace it
# takes longer than all the rest of a call.
_reference_p = Primitive("spikexla_reference")
_reference_p.multiple_results = True


@_reference_p.def_abstract_eval
def _reference_shapes(*args, reference, shapes):
    return shapes


@functools.partial(mlir.register_lowering, _reference_p)
def _lower_reference(ctx, *args, reference, shapes):
    # Here an operand is one device's part already; the mesh axes in its type would be unbound.
    plain = [ShapedArray(x.shape, x.dtype) for x in ctx.avals_in]
    return mlir.lower_fun(reference, multiple_results=True)(ctx.replace(avals_in=plain), *args)


def _batch_reference(args, axes, *, reference, shapes):
    size = next(x.shape[k] for x, k in zip(args, axes, strict=True) if k is not None)
    reference = jax.vmap(reference, axes, axis_size=size)
    shapes = tuple(s.update(shape=(size, *s.shape)) for s in shapes)
    return _reference_p.bind(*args, reference=reference, shapes=shapes), (0,) * len(shapes)


batching.primitive_batchers[_reference_p] = _batch_reference


def _batched(call: Callable, in_place: int) -> Callable:
    """Lets `vmap` add a leading axis of size 1 to what is not batched, but not to what is updated
    in place: that must have the shape of its result."""
    call = custom_vmap(call)

    @call.def_vmap
    def rule(size, is_batched, *args):
        args = list(args)
        axes = [0 if batched else None for batched in is_batched]
        for k in range(in_place):
            if axes[k] is None:
                args[k], axes[k] = jnp.broadcast_to(args[k], (size, *args[k].shape)), 0
        inner = jax.vmap(call.fun, in_axes=tuple(axes), axis_size=size)
        out = _batched(inner, in_place)(*args)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _not_differentiable(name: str, call: Callable) -> Callable:
    """A kernel has a transpose (in its op's `custom_vjp`) but no derivative of its own."""
    call = jax.custom_jvp(call)

    @call.defjvp
    def rule(primals, tangents):
        raise TypeError(no_derivative(name))

    return call


def same_mesh_axes(args: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Under `shard_map`, marks replicated operands as varying over the axes of the others.

    The transpose of that mark is the sum over devices that the gradient of a replicated operand
    needs.
    """
    axes = frozenset().union(*(jax.typeof(x).mat.varying for x in args))
    return tuple(_vary(x, axes) for x in args)


def _check_shardings(name: str, args: Sequence[jax.Array]) -> None:
    """A kernel works on whole arrays: it cannot say how a result is spread over a mesh."""
    for x in args:
        spec = jax.typeof(x).sharding.spec
        if any(axis is not None for axis in spec):
            raise TypeError(
                f"{name}: an operand of shape {x.shape} is spread as {spec} over a mesh with "
                "explicit axes, which the native kernels cannot follow. Call it inside "
                "jax.shard_map or jax.sharding.auto_axes, or use backend='xla'."
            )


def _vary(x: jax.Array, axes: frozenset) -> jax.Array:
    missing = tuple(sorted(axes - jax.typeof(x).mat.varying))
    return jax.lax.pcast(x, missing, to="varying") if missing else x
