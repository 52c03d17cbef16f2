"""`eval_shape`: the shapes that a function of States gives, without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..state import ACTIVE, LEAF
from .trace import Traced, commit


def eval_shape(f: Callable, *args: Any, return_state_shapes: bool = False, **kwargs: Any) -> Any:
    """The result of `f(*args, **kwargs)` with a `jax.ShapeDtypeStruct` for each array.

    Nothing runs and no State changes.  A module that `f` makes comes back with shapes for values:
    the plan of a network that is too large to build.
    return_state_shapes: give ({State: shape}, result), with every State that `f` met.

    >>> eval_shape(lambda x: x @ x, jnp.ones((3, 3))).shape
    (3, 3)
    """
    traced = Traced(f, args, kwargs, refuse=False)
    if ACTIVE.frame is None:
        commit(traced.new, traced.new_shapes, traced.new_trees)
    result = traced.result(traced.out_shapes)
    if not return_state_shapes:
        return result
    shapes = {state: jax.tree.map(_shape, state.value) for state in traced.states}
    for state, raw, tree in zip(
        traced.written, traced.written_shapes, traced.written_trees, strict=True
    ):
        shapes[state] = raw if tree is LEAF else tree.unflatten(raw)
    return shapes, result


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(x)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
