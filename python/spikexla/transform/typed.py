"""Types of arrays as jax sees them: shape, dtype, and the axes of a mesh over which they vary.

Inside of `shard_map` a value is the same on every shard or varies over some axes of the mesh, which
is part of its type.  What a transform builds for itself (the slice that one lane or one iteration
sees, the start of a carry, a tangent) must have the type that the function makes of it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.sharding import NamedSharding, PartitionSpec


def without_axis(x: Any, axis: int) -> jax.ShapeDtypeStruct:
    """The type of `x` without one of its axes.

    >>> without_axis(jnp.ones((3, 4)), 0).shape
    (4,)
    """
    shape, dtype = list(jnp.shape(x)), jnp.result_type(x)
    del shape[axis]
    if not isinstance(x, jax.Array):
        return jax.ShapeDtypeStruct(shape, dtype)
    found = jax.typeof(x)
    if found.sharding.mesh.empty:
        return jax.ShapeDtypeStruct(shape, dtype)
    spec = list(found.sharding.spec)
    del spec[axis]
    sharding = NamedSharding(found.sharding.mesh, PartitionSpec(*spec))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding, manual_axis_type=found.mat)


def varying(x: Any) -> frozenset[str]:
    """The axes of a mesh over which an array, or a type, varies; none outside of `shard_map`."""
    if isinstance(x, jax.ShapeDtypeStruct):
        found = x.manual_axis_type
    else:
        found = (x if isinstance(x, ShapedArray) else jax.typeof(x)).mat
    return frozenset() if found is None else found.varying


def vary(x: Any, axes: frozenset[str]) -> Any:
    """`x`, varying over these axes too; it has the same value all along them."""
    missing = tuple(sorted(axes - varying(x)))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def vary_as(x: Any, like: Any) -> Any:
    """Each array of the tree `x`, varying over the axes over which that of `like` does."""
    return jax.tree.map(lambda a, b: vary(a, varying(b)), x, like)
