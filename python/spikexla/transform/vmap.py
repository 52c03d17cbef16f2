"""`vmap`: runs a function for many inputs at once, with States shared by the lanes or mapped."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..random import RandomState
from ..state import State
from .staged import staged
from .trace import Traced, commit, read, split


class BatchAxisError(ValueError):
    """A State that all lanes share was written with a different value in each lane."""


def vmap(
    fun: Callable | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_size: int | None = None,
    in_states: Any = None,
    out_states: Any = None,
) -> Any:
    """`jax.vmap` for a function that may read and write States.

    States are shared by all lanes unless named.
    in_states: States (a tree of them), or {axis: States}, with one slice for each lane.
    out_states: States that get one slice for each lane when written, as those of in_states do.
    A shared State may be written only with a value that does not depend on the lane, else
    BatchAxisError.  Each lane draws its own random numbers.

    >>> vmap(lambda x: net(x))(jnp.ones((5, 3))).shape
    (5, 2)
    """
    if fun is None:
        return functools.partial(
            vmap,
            in_axes=in_axes,
            out_axes=out_axes,
            axis_size=axis_size,
            in_states=in_states,
            out_states=out_states,
        )
    entering, leaving = _axes(in_states), _axes(out_states)
    subject = (fun, in_axes, out_axes, axis_size, entering, {**entering, **leaving})

    @functools.wraps(fun, updated=())
    def mapped(*args: Any) -> Any:
        return staged(_vmap, subject, args)

    return mapped


def _axes(spec: Any) -> dict[State, int]:
    """Which axis of which State is mapped."""
    by_axis = (
        spec if isinstance(spec, dict) and all(isinstance(k, int) for k in spec) else {0: spec}
    )
    found = {}
    for axis, states in by_axis.items():
        for state in jax.tree.leaves(states):
            if not isinstance(state, State):
                raise TypeError(f"in_states and out_states must hold States, got {state!r}")
            found[state.root()] = axis
    return found


def _vmap(subject: tuple, *args: Any) -> Any:
    fun, in_axes, out_axes, axis_size, entering, leaving = subject
    axes: tuple = tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
    if len(axes) != len(args):
        raise ValueError(
            f"in_axes has {len(axes)} entries, but the function was called with {len(args)} "
            "arguments; give one axis (or None) for each"
        )
    lane = tuple(_drop(arg, axis) for arg, axis in zip(args, axes, strict=True))
    size = _size(args, axes, axis_size, entering)
    traced = Traced(fun, lane, view=lambda state: _drop(state._raw, entering.get(state)))
    traced.refuse_new("a mapped function")
    random = {s for s in traced.states if isinstance(s, RandomState) and s not in entering}
    keys: dict[State, Any] = {state: state.split_raw(size) for state in random}
    raws = [keys.get(s, raw) for s, raw in zip(traced.states, read(traced.states), strict=True)]
    state_axes = [0 if s in random else entering.get(s) for s in traced.states]
    written = [state for state in traced.written if state not in random]
    trees = dict(zip(traced.written, traced.written_trees, strict=True))

    def body(raws: list, args: tuple) -> tuple:
        out, after, _ = traced.call(split((args, {}))[0], raws)
        kept = zip(traced.written, after, strict=True)
        return traced.result(out), [raw for state, raw in kept if state not in random]

    run = jax.vmap(
        body,
        in_axes=(state_axes, axes),
        out_axes=(out_axes, [leaving.get(state) for state in written]),
        axis_size=size,
    )
    try:
        out, after = run(raws, args)
    except ValueError as error:
        shared = [state.label for state in written if state not in leaving]
        if not shared or "out_axes" not in str(error):
            raise
        raise BatchAxisError(
            f"{', '.join(shared)} is shared by all lanes of vmap, and was written with a value "
            "that differs from lane to lane (or the result has out_axes=None). "
            "Name it in out_states."
        ) from error
    commit(written, after, [trees[state] for state in written])
    return out


def _drop(tree: Any, axis: int | None) -> Any:
    """What one lane sees: arrays without the mapped axis."""
    if axis is None:
        return tree

    def one(x: Any) -> jax.ShapeDtypeStruct:
        shape = list(jnp.shape(x))
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"vmap over axis {axis} of an array of shape {tuple(shape)}, which has no such "
                "axis; set in_axes (None for what is not mapped)"
            )
        del shape[axis]
        return jax.ShapeDtypeStruct(tuple(shape), jnp.result_type(x))

    return jax.tree.map(one, tree)


def _size(args: tuple, axes: tuple, axis_size: int | None, entering: dict[State, int]) -> int:
    sizes = set() if axis_size is None else {axis_size}
    pairs = [*zip(args, axes, strict=True), *((state.value, a) for state, a in entering.items())]
    for tree, axis in pairs:
        if axis is not None:
            sizes |= {jnp.shape(leaf)[axis] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(
            f"the mapped axes of vmap have sizes {sorted(sizes)}; they must be equal, and one must "
            "be given (by an argument, a State of in_states, or axis_size)"
        )
    return sizes.pop()
