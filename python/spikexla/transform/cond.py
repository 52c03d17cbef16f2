"""`cond`, `switch` and `ifelse`: branches that read and write States.

A State that any branch writes is a result of every branch: the others pass it through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..state import State
from .error_if import jit_error_if
from .staged import staged
from .trace import HOLE, Traced, commit, read, split
from .typed import vary, varying


class BranchError(TypeError):
    """The branches of a conditional do not agree on the type of a result."""


def cond(pred: Any, true_fun: Callable, false_fun: Callable, *operands: Any) -> Any:
    """`true_fun(*operands)` where `pred` is not zero, else `false_fun(*operands)`.

    >>> cond(True, lambda x: x + 1, lambda x: x - 1, 1.0)
    Array(2., dtype=float32)
    """
    if jnp.shape(pred) != ():
        raise TypeError(
            f"the predicate of cond must be a scalar, got shape {jnp.shape(pred)}; "
            "reduce it with .any() or .all(), or use jnp.where for each element"
        )
    return switch(jnp.asarray(pred) != 0, (false_fun, true_fun), *operands)


def switch(index: Any, branches: Sequence[Callable], *operands: Any) -> Any:
    """Calls `branches[index](*operands)`; an index out of range is clamped.

    >>> switch(2, [lambda: 0, lambda: 10, lambda: 20])
    Array(20, dtype=int32)
    """
    if not branches:
        raise ValueError("switch needs at least one branch")
    return staged(_switch, tuple(branches), (index, *operands))


def ifelse(
    conditions: Sequence[Any], branches: Sequence[Callable], *operands: Any, check_cond: bool = True
) -> Any:
    """Calls the one of `branches` whose condition is true.

    check_cond: exactly one condition must be true, else an error as of `jit_error_if`.  Without it
    the first true one counts, and the last branch where none is.

    >>> rate = jnp.asarray(3.0)
    >>> float(ifelse([rate > 5, rate <= 5], [lambda: 2.0, lambda: 1.0]))
    1.0
    """
    branches = tuple(branches)
    if not branches or len(conditions) != len(branches):
        raise ValueError(
            f"ifelse got {len(conditions)} conditions and {len(branches)} branches; "
            "give one condition for each branch"
        )
    shapes = [jnp.shape(condition) for condition in conditions]
    if any(shapes):
        raise TypeError(f"the conditions of ifelse must be scalars, got shapes {shapes}")
    true = jnp.stack([jnp.asarray(condition) != 0 for condition in conditions])
    if check_cond:
        message = "exactly one condition of ifelse must be true, got {conditions}"
        jit_error_if(true.sum() != 1, message, conditions=true)
    return switch(jnp.where(true.any(), true.argmax(), len(branches) - 1), branches, *operands)


def _switch(branches: tuple[Callable, ...], index: Any, *operands: Any) -> Any:
    traces = [Traced(branch, operands) for branch in branches]
    for traced in traces:
        traced.refuse_new("a branch, which may not run")
    states = {id(state): state for traced in traces for state in traced.states}
    written = {id(state): state for traced in traces for state in traced.written}
    raws = dict(zip(states, read(states.values()), strict=True))
    trees = {i: _common_tree(state, traces) for i, state in written.items()}
    types = _common_types(traces, written, raws)

    def branch(traced: Traced) -> Callable:
        def run(before: list, leaves: list) -> tuple:
            now = {**raws, **dict(zip(written, before, strict=True))}
            out, after, _ = traced.call(leaves, [now[id(state)] for state in traced.states])
            now.update(zip(map(id, traced.written), after, strict=True))
            return jax.tree.map(_cast, (out, [now[i] for i in written]), types)

        return run

    leaves = split((operands, {}))[0]
    before = [raws[i] for i in written]
    index = jnp.asarray(index, jnp.int32)
    out, after = jax.lax.switch(index, [branch(t) for t in traces], before, leaves)
    commit(written.values(), after, trees.values())
    return traces[0].result(out)


def _cast(value: Any, common: tuple) -> Any:
    dtype, axes = common
    return vary(jnp.asarray(value, dtype), axes)


def _common_tree(state: State, traces: list[Traced]) -> Any:
    trees = [state._tree]
    for traced in traces:
        found = zip(traced.written, traced.written_trees, strict=True)
        trees += [tree for written, tree in found if written is state]
    if any(tree != trees[-1] for tree in trees[1:]) or (
        len(trees) <= len(traces) and trees[0] != trees[-1]
    ):
        raise BranchError(
            f"{state.label} has a different unit or structure after one branch than after another; "
            "write the same kind of value in all of them"
        )
    return trees[-1]


def _common_types(traces: list[Traced], written: dict, raws: dict[int, Any]) -> tuple:
    """(dtype, axes of a mesh over which it varies) of every result.

    All branches must agree on the dtype, but for weakly typed numbers.
    """
    first = traces[0]
    out = first.result([HOLE] * len(first.out_shapes))
    for traced in traces[1:]:
        other = traced.result([HOLE] * len(traced.out_shapes))
        if jax.tree.flatten(other) != jax.tree.flatten(out):
            raise BranchError(
                f"the branches return different structures: {jax.tree.structure(out)} and "
                f"{jax.tree.structure(other)}; return the same in all of them"
            )
    columns = zip(*(traced.out_shapes for traced in traces), strict=True)
    outs = [_agree(f"result {k} of the branches", column) for k, column in enumerate(columns)]
    states = []
    for i, state in written.items():
        columns = []
        for traced in traces:
            shapes = dict(zip(map(id, traced.written), traced.written_shapes, strict=True))
            columns.append(shapes.get(i, jax.tree.map(jax.typeof, raws[i])))
        states.append(jax.tree.map(lambda *c, s=state: _agree(s.label, c), *columns))
    return outs, states


def _agree(what: str, types: Sequence[Any]) -> Any:
    strong = [t for t in types if not getattr(t, "weak_type", False)] or types
    dtype = jnp.result_type(*(jnp.dtype(t.dtype) for t in strong))
    if {t.dtype for t in strong} != {dtype} or len({t.shape for t in types}) > 1:
        found = " or ".join(f"{t.dtype}{list(t.shape)}" for t in types)
        raise BranchError(
            f"{what} is {found}, depending on the branch; cast or reshape it to one type"
        )
    return dtype, frozenset().union(*map(varying, types))
