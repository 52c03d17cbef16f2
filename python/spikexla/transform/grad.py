"""`grad`, `value_and_grad` and `vector_grad`: derivatives by States, arguments or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .derivative import Point, Request, derivative
from .typed import vary_as


def grad(
    fun: Callable | None = None,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    return_value: bool = False,
    check_states: bool = False,
) -> Any:
    """The gradient of the scalar that `fun` returns.

    grad_states: a State, or any tree of them (a StateDict): the gradient has the same structure and
    keys.  argnums: positions of arguments; without either, the first argument.  With both the
    gradient is (of states, of arguments).
    has_aux: `fun` returns (loss, aux).  The result is grads, (grads, loss) with `return_value`,
    (grads, aux), or (grads, loss, aux).
    check_states: a State that `fun` does not read is an error; by default its gradient is zero,
    with a warning.

    A function whose first parameter stands for the states is given them: with
    `loss(params, net, x, y)`, call `grad(loss, params)(net, x, y)`.  For a State that holds a
    quantity the derivative is taken of its number, and carries its unit.

    >>> params = net.states(ParamState)
    >>> grads = grad(lambda x: (net(x) ** 2).sum(), params)(jnp.ones(3))
    >>> list(grads) == list(params)
    True
    """
    flags = {"has_aux": has_aux, "return_value": return_value, "check_states": check_states}
    return derivative(_grad, "grad", fun, grad_states, argnums, **flags)


def value_and_grad(fun: Callable, grad_states: Any = None, argnums: Any = None, **options) -> Any:
    """As `grad`, but called it returns (loss, grads), or ((loss, aux), grads) with `has_aux`."""
    gradient = grad(fun, grad_states, argnums, return_value=True, **options)

    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple:
        grads, *values = gradient(*args, **kwargs)
        return (values[0] if len(values) == 1 else tuple(values)), grads

    return value_and_gradient


def vector_grad(
    fun: Callable | None = None,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    return_value: bool = False,
    check_states: bool = False,
) -> Any:
    """The gradient of the sum of all numbers that `fun` returns, which may be arrays.

    For a function that works on each element alone, these are the elements' derivatives.  The
    options and the form of the result are those of `grad`.

    >>> vector_grad(lambda x: x**2)(jnp.asarray([3.0, 4.0]))
    Array([6., 8.], dtype=float32)
    """
    flags = {"has_aux": has_aux, "return_value": return_value, "check_states": check_states}
    return derivative(_vector_grad, "vector_grad", fun, grad_states, argnums, **flags)


def _grad(request: Request, *args: Any, **kwargs: Any) -> Any:
    point = Point("grad", request, args, kwargs)
    parts, left = jax.grad(point.scalar, has_aux=True)(point.start)
    return point.results(point.assemble(parts), left)


def _vector_grad(request: Request, *args: Any, **kwargs: Any) -> Any:
    point = Point("vector_grad", request, args, kwargs)
    numbers, pull, left = jax.vjp(point.pure, point.start, has_aux=True)
    (parts,) = pull([vary_as(jnp.ones_like(x), x) for x in numbers])
    return point.results(point.assemble(parts), left)
