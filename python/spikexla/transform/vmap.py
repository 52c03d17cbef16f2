"""`vmap`: runs a function for many inputs at once, with States shared by the lanes or mapped."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..random import RandomState
from ..random.lanes import Generators, Lane
from ..state import State
from .staged import staged
from .trace import HOLE, Traced, commit, join, read, split
from .typed import without_axis


class BatchAxisError(ValueError):
    """A State that all lanes share was written with a different value in each lane."""


def vmap(
    fun: Callable | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    in_states: Any = None,
    out_states: Any = None,
) -> Any:
    """`jax.vmap` for a function that may read and write States.

    States are shared by all lanes unless named.
    in_states: States (a tree of them), or {axis: States}, with one slice for each lane.
    out_states: States that get one slice for each lane when written, as those of in_states do.
    A shared State may be written only with a value that does not depend on the lane, else
    BatchAxisError.  Each lane draws its own random numbers.  A State that the function creates gets
    a leading axis with one slice for each lane.
    Arguments that are no data (modules, strings) are shared; keywords are mapped over axis 0.

    >>> vmap(lambda x: net(x))(jnp.ones((5, 3))).shape
    (5, 2)
    """
    if fun is None:
        return functools.partial(
            vmap,
            in_axes=in_axes,
            out_axes=out_axes,
            axis_name=axis_name,
            axis_size=axis_size,
            spmd_axis_name=spmd_axis_name,
            in_states=in_states,
            out_states=out_states,
        )
    entering, leaving = _axes(in_states), _axes(out_states)
    axis = (axis_name, axis_size, spmd_axis_name)
    subject = (fun, in_axes, out_axes, axis, entering, {**entering, **leaving})

    @functools.wraps(fun, updated=())
    def mapped(*args: Any, **kwargs: Any) -> Any:
        return staged(_vmap, subject, args, kwargs)

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


def _vmap(subject: tuple, *args: Any, **kwargs: Any) -> Any:
    fun, in_axes, out_axes, (name, size, spmd_name), entering, leaving = subject
    if isinstance(in_axes, tuple | list) and len(in_axes) != len(args):
        raise ValueError(
            f"in_axes has {len(in_axes)} entries, but the function was called with {len(args)} "
            "arguments; give one axis (or None) for each"
        )
    data, statics, tree = split((args, kwargs))
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    axes = prefix((in_axes, 0), (args, kwargs), statics, "in_axes")
    lane = [_drop(x, axis, "an argument") for x, axis in zip(data, axes, strict=True)]
    mapped = [*zip(data, axes, strict=True), *((s.value, a) for s, a in entering.items())]
    size = _size(mapped, size)
    traced = Traced(
        fun,
        *join(tree, statics, lane),
        view=lambda state: _drop(state._raw, entering.get(state), state.label),
        axis_env=None if name is None else [(name, size)],
    )
    random = {  # of these each lane has its own, without being asked
        s
        for s in traced.states
        if isinstance(s, RandomState | Lane | Generators) and s not in entering
    }
    keys: dict[State, Any] = {state: state.split_raw(size) for state in random}
    raws = [keys.get(s, raw) for s, raw in zip(traced.states, read(traced.states), strict=True)]
    state_axes = [0 if s in random else entering.get(s) for s in traced.states]
    kept = [s not in random or (isinstance(s, Generators) and s in leaving) for s in traced.written]
    written = [state for state, its in zip(traced.written, kept, strict=True) if its]
    trees = dict(zip(traced.written, traced.written_trees, strict=True))
    out = traced.result([HOLE] * len(traced.out_shapes))
    kept_axes = [leaving.get(state) for state in written]

    def body(raws: list, leaves: list) -> tuple:
        out, after, new = traced.call(leaves, raws)
        return out, [raw for raw, its in zip(after, kept, strict=True) if its], new

    run = jax.vmap(
        body,
        in_axes=(state_axes, axes),
        out_axes=(prefix(out_axes, out, traced.out_statics, "out_axes"), kept_axes, 0),
        axis_name=name,
        axis_size=size,
        spmd_axis_name=spmd_name,
    )
    leaves, after, new = _run(run, raws, data, [s.label for s in written if s not in leaving])
    after_trees = [trees[state] for state in written] + traced.new_trees
    commit([*written, *traced.new], [*after, *new], after_trees)
    return traced.result(leaves)


def _run(run: Callable, raws: list, data: list, shared: list[str]) -> tuple:
    try:
        return run(raws, data)
    except ValueError as error:
        if not shared or "out_axes" not in str(error):
            raise
        raise BatchAxisError(
            f"{', '.join(shared)} is shared by all lanes of vmap, and was written with a value "
            "that differs from lane to lane (or the result has out_axes=None). "
            "Name it in out_states."
        ) from error


def prefix(spec: Any, tree: Any, statics: list, what: str) -> list:
    """The entries of `spec`, a tree prefix of `tree`, one for each of its leaves that is data."""
    entries: list[Any] = []

    def repeat(entry: Any, part: Any) -> None:
        entries.extend([entry] * jax.tree.structure(part).num_leaves)

    try:
        jax.tree.map(repeat, spec, tree, is_leaf=lambda x: x is None)
    except ValueError as error:
        raise ValueError(f"{what}={spec!r} does not fit what it is for: {error}") from None
    return [entry for entry, leaf in zip(entries, statics, strict=True) if leaf is HOLE]


def _drop(tree: Any, axis: int | None, what: str) -> Any:
    """What one lane sees: arrays without the mapped axis."""
    if axis is None:
        return tree

    def one(x: Any) -> jax.ShapeDtypeStruct:
        shape = jnp.shape(x)
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"vmap over axis {axis} of {what}, an array of shape {shape}, which has no "
                "such axis; set in_axes (None for what is not mapped) or in_states"
            )
        return without_axis(x, axis)

    return jax.tree.map(one, tree)


def _size(pairs: list[tuple[Any, int | None]], axis_size: int | None) -> int:
    sizes = set() if axis_size is None else {axis_size}
    for tree, axis in pairs:
        if axis is not None:
            _drop(tree, axis, "a State of in_states")
            sizes |= {jnp.shape(leaf)[axis] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(
            f"the mapped axes of vmap have sizes {sorted(sizes)}; they must be equal, and one must "
            "be given (by an argument, a State of in_states, or axis_size)"
        )
    return sizes.pop()
