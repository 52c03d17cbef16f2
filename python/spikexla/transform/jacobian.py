"""`jacrev`, `jacfwd` and `hessian`: every derivative of every number that a function returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..state import LEAF
from .derivative import Point, Request, assemble, derivative, without_units


def jacrev(
    fun: Callable,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    return_value: bool = False,
    check_states: bool = False,
) -> Any:
    """The Jacobian of `fun`, one row of outputs at a time: for few outputs and many inputs.

    Each array of shape `out` that `fun` returns becomes the structure that `grad` would give, with
    arrays of shape `(*out, *in)`.  Options and the form of the result are those of `grad`.

    >>> jacrev(lambda x: x**2)(jnp.asarray([3.0, 4.0]))
    Array([[6., 0.],
           [0., 8.]], dtype=float32)
    """
    flags = {"has_aux": has_aux, "return_value": return_value, "check_states": check_states}
    return derivative(_jacrev, "jacrev", fun, grad_states, argnums, **flags)


jacobian = jacrev


def jacfwd(
    fun: Callable,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    return_value: bool = False,
    check_states: bool = False,
) -> Any:
    """As `jacrev`, one column of inputs at a time: for few inputs and many outputs.

    Forward mode does not pass surrogate gradients and native kernels, which have a rule for reverse
    mode only; jax says so.

    >>> jacfwd(lambda x: x**2)(jnp.asarray([3.0, 4.0]))
    Array([[6., 0.],
           [0., 8.]], dtype=float32)
    """
    flags = {"has_aux": has_aux, "return_value": return_value, "check_states": check_states}
    return derivative(_jacfwd, "jacfwd", fun, grad_states, argnums, **flags)


def hessian(
    fun: Callable,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    return_value: bool = False,
    check_states: bool = False,
) -> Any:
    """The second derivatives of `fun`: for each leaf of the gradient, its gradient.

    `hessian(f, {"w": w, "b": b})()["w"]["b"]` has shape `(*w.shape, *b.shape)`; the outer level
    carries no units.  It goes forward over reverse, see `jacfwd` for what that does not pass.

    >>> hessian(lambda x: x[0] ** 2 * x[1])(jnp.asarray([3.0, 4.0]))
    Array([[8., 6.],
           [6., 0.]], dtype=float32)
    """
    flags = {"has_aux": has_aux, "return_value": return_value, "check_states": check_states}
    return derivative(_hessian, "hessian", fun, grad_states, argnums, **flags)


def _jacrev(request: Request, *args: Any, **kwargs: Any) -> Any:
    point = Point("jacrev", request, args, kwargs)
    rows, left = jax.jacrev(point.pure, has_aux=True)(point.start)
    return point.results(point.assemble_rows(rows, point.assemble), left)


def _jacfwd(request: Request, *args: Any, **kwargs: Any) -> Any:
    point = Point("jacfwd", request, args, kwargs)
    rows, left = jax.jacfwd(point.pure, has_aux=True)(point.start)
    return point.results(point.assemble_rows(rows, point.assemble), left)


def _hessian(request: Request, *args: Any, **kwargs: Any) -> Any:
    point = Point("hessian", request, args, kwargs)
    # Rows of the start's structure, each leaf of which is of the start's structure again.
    rows, left = jax.hessian(point.pure, has_aux=True)(point.start)

    trees = [tree if tree is LEAF else without_units(tree) for tree in point.trees]

    def assemble_row(row: list) -> Any:
        inner = [
            [point.assemble(leaf) for leaf in part]
            if isinstance(start, list)
            else point.assemble(part)
            for start, part in zip(point.start, row, strict=True)
        ]
        return assemble(point.request, trees, inner)

    return point.results(point.assemble_rows(rows, assemble_row), left)
