"""`grad` and `value_and_grad`: derivatives with respect to States, arguments or both."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..config import warn_once
from ..state import LEAF, State
from .staged import staged
from .trace import Frame, commit, join, read, split


class UnusedStateWarning(UserWarning):
    """A gradient was asked for a State that the function does not read; it is zero."""


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
    if fun is None:
        return lambda f: grad(
            f,
            grad_states,
            argnums,
            has_aux=has_aux,
            return_value=return_value,
            check_states=check_states,
        )
    request = _Request.of(fun, grad_states, argnums, has_aux, return_value, check_states)

    @functools.wraps(fun, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return staged(_gradient, request, _with_states(fun, grad_states, args, kwargs), kwargs)

    return gradient


def value_and_grad(fun: Callable, grad_states: Any = None, argnums: Any = None, **options) -> Any:
    """As `grad`, but called it returns (loss, grads), or ((loss, aux), grads) with `has_aux`."""
    gradient = grad(fun, grad_states, argnums, return_value=True, **options)

    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple:
        grads, *values = gradient(*args, **kwargs)
        return (values[0] if len(values) == 1 else tuple(values)), grads

    return value_and_gradient


class _Request(NamedTuple):
    """What to differentiate, and what to give back."""

    fun: Callable
    states: tuple[State, ...]  # each once
    slots: tuple[int, ...]  # which of them stands at each leaf of the structure
    structure: Any
    argnums: tuple[int, ...]
    single: bool  # one argument, not a tuple of them
    has_aux: bool
    return_value: bool
    check_states: bool

    @staticmethod
    def of(fun: Callable, grad_states: Any, argnums: Any, *flags: bool) -> _Request:
        if not callable(fun):
            raise TypeError(f"grad differentiates a function, got {fun!r}")
        leaves, structure = jax.tree.flatten(grad_states)
        for leaf in leaves:
            if not isinstance(leaf, State):
                raise TypeError(
                    f"grad_states must hold States, such as net.states(ParamState), got {leaf!r}"
                )
        leaves = [leaf.root() for leaf in leaves]
        states = tuple({id(state): state for state in leaves}.values())
        slots = tuple(next(k for k, s in enumerate(states) if s is t) for t in leaves)
        if argnums is None and not states:
            argnums = 0
        single = isinstance(argnums, int)
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums or ())
        if any(n < 0 for n in numbers):
            raise ValueError(f"argnums counts arguments from 0 and is not negative, got {argnums}")
        return _Request(fun, states, slots, structure, numbers, single, *flags)


def _gradient(request: _Request, *args: Any, **kwargs: Any) -> Any:
    fun, states = request.fun, request.states
    raws = read(states)
    for state, raw in zip(states, raws, strict=True):
        _check_differentiable(state, raw)
    left: dict[str, Any] = {}  # what the traced function met, beside its values

    def pure(raws: list, chosen: tuple) -> tuple:
        given = dict(zip(map(id, states), raws, strict=True))
        full = list(args)
        for n, value in zip(request.argnums, chosen, strict=True):
            full[n] = value
        with Frame(lambda _, state: given.get(id(state), state._raw)) as frame:
            out = fun(*full, **kwargs)
            loss, aux = _loss_and_aux(out, request.has_aux)
            written = frame.writes()
            new = [s for s in frame.new if not isinstance(s._frame, State)]
            left["states"], left["trees"] = [*written, *new], [s._tree for s in (*written, *new)]
            left["met"] = {id(state) for state in frame.states}
            values = [s._raw for s in (*written, *new)]
            data, *left["aux"] = split(aux)
        return _scalar(loss), (loss, data, values)

    chosen = tuple(_argument(fun, args, n) for n in request.argnums)
    differentiate = jax.grad(pure, argnums=(0, 1), has_aux=True)
    (by_state, by_argument), (loss, data, values) = differentiate(raws, chosen)
    _report_unused(request, left["met"])
    commit(left["states"], values, left["trees"])
    grads: Any = by_argument[0] if request.single else by_argument
    if states:
        trees = [state._tree for state in states]
        found = [g if t is LEAF else t.unflatten(g) for t, g in zip(trees, by_state, strict=True)]
        ours = jax.tree.unflatten(request.structure, [found[k] for k in request.slots])
        grads = (ours, grads) if request.argnums else ours
    statics, tree = left["aux"]
    extras = (loss,) * request.return_value + (join(tree, statics, data),) * request.has_aux
    return (grads, *extras) if extras else grads


def _with_states(fun: Callable, grad_states: Any, args: tuple, kwargs: dict) -> tuple:
    """The arguments, with the states in front where `fun` takes them and the caller did not."""
    if not jax.tree.leaves(grad_states):
        return args
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return args
    longer = (grad_states, *args)
    return (
        longer
        if not _binds(signature, args, kwargs) and _binds(signature, longer, kwargs)
        else args
    )


def _binds(signature: inspect.Signature, args: tuple, kwargs: dict) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _argument(fun: Callable, args: tuple, n: int) -> Any:
    if n >= len(args):
        raise ValueError(
            f"grad with respect to argument {n} of {getattr(fun, '__name__', fun)}, which was "
            f"called with {len(args)} positional arguments; pass it by position"
        )
    return args[n]


def _loss_and_aux(out: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"with has_aux the function must return (loss, aux), got {type(out)}")
    return out


def _scalar(loss: Any) -> Any:
    """The number to differentiate; a quantity counts by its number."""
    leaves = jax.tree.leaves(loss)
    if len(leaves) != 1 or jnp.shape(leaves[0]) != ():
        shapes = [jnp.shape(leaf) for leaf in leaves]
        raise TypeError(
            f"grad needs a function that returns one scalar, got shapes {shapes}; reduce it, for "
            "example with .mean(), or return (loss, aux) with has_aux=True"
        )
    return leaves[0]


def _check_differentiable(state: State, raw: Any) -> None:
    for leaf in jax.tree.leaves(raw):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"{state.label} has dtype {jnp.result_type(leaf)}, which has no gradient; "
                "make it floating point or leave it out of grad_states"
            )


def _report_unused(request: _Request, met: set[int]) -> None:
    unused = [state.label for state in request.states if id(state) not in met]
    if not unused:
        return
    name = getattr(request.fun, "__name__", "the function")
    message = (
        f"{name} does not read {', '.join(unused)}: the gradient is zero. Use its `.value` inside "
        "the function, or leave it out of grad_states."
    )
    if request.check_states:
        raise ValueError(message)
    warn_once(message, message, UnusedStateWarning, stacklevel=4)
