"""`vjp` and `jvp`: products of a function's Jacobian with vectors, from the left and the right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .derivative import Point, Request, assemble, without_units
from .staged import staged
from .typed import vary, varying


def vjp(
    fun: Callable,
    *primals: Any,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = 0,
    has_aux: bool = False,
) -> tuple:
    """`fun(*primals)` and the function that pulls a cotangent of it back: (out, pull[, aux]).

    `pull(v)` takes what has the structure of `out` and gives what `grad` would give: of arguments,
    of states when there are no primals or `argnums` is None, or (of states, of arguments).

    >>> out, pull = vjp(lambda x: x**2, jnp.asarray([3.0, 4.0]))
    >>> pull(jnp.ones(2))
    Array([6., 8.], dtype=float32)
    """
    if not primals and not jax.tree.leaves(grad_states):
        raise ValueError("vjp has nothing to differentiate; give arguments or grad_states")
    if not primals:
        argnums = None
    elif isinstance(argnums, int):
        argnums = _from_the_front(argnums, len(primals))
    elif argnums is not None:
        argnums = [_from_the_front(n, len(primals)) for n in argnums]
    request = Request.of("vjp", fun, grad_states, argnums, has_aux, True, False)
    return staged(_vjp, request, primals)


def jvp(
    fun: Callable,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    grad_states: Any = None,
    state_tangents: Any = None,
    has_aux: bool = False,
) -> tuple:
    """`fun(*primals)` and its derivative along the tangents: (out, tangent of out[, aux]).

    tangents: for each primal what has its structure, or None where it does not move.
    state_tangents: likewise, in the structure of `grad_states`, a State or a tree of them.  Other
    States do not move.  See `jacfwd` for what forward mode does not pass.

    >>> float(jvp(lambda x: x**2, (3.0,), (1.0,))[1])
    6.0
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise TypeError(f"jvp takes {name} as a tuple, one for each argument, got {given!r}")
    if len(primals) != len(tangents):
        raise ValueError(
            f"jvp got {len(primals)} primals and {len(tangents)} tangents; give one tangent for "
            "each primal, None where it does not move"
        )
    argnums = tuple(n for n, tangent in enumerate(tangents) if tangent is not None)
    moving = [tangent for tangent in tangents if tangent is not None]
    if not argnums and grad_states is None:
        raise ValueError("jvp along no tangent at all; give one that is not None")
    request = Request.of("jvp", fun, grad_states, argnums, has_aux, True, False)
    return staged(_jvp, request, (tuple(primals), moving, state_tangents))


def _vjp(request: Request, *primals: Any) -> tuple:
    point = Point("vjp", request, primals, {})
    _, pullback, left = jax.vjp(point.pure, point.start, has_aux=True)
    value, aux = point.finish(left)
    # A Partial is a tree: it can leave a compiled function, with the residuals as its arrays.
    rest = functools.partial(_pull, request, point.trees, point.out_tree, point.out_types)
    pull = jax.tree_util.Partial(rest, pullback)
    return (value, pull, aux) if request.has_aux else (value, pull)


def _pull(
    request: Request, trees: list, tree: Any, types: list, pullback: Callable, cotangent: Any
) -> Any:
    (parts,) = pullback(_matching("the cotangent of vjp", cotangent, tree, types))
    return assemble(request, trees, parts)


def _jvp(request: Request, primals: tuple, moving: list, state_tangents: Any) -> tuple:
    point = Point("jvp", request, primals, {})
    given = [*_of_states(request, state_tangents), *moving]
    tangents = []
    for start, tree, tangent in zip(point.start, point.trees, given, strict=True):
        types = list(map(jax.typeof, jax.tree.leaves(start)))
        if tangent is None:
            leaves = [vary(jnp.zeros(t.shape, t.dtype), varying(t)) for t in types]
        else:
            leaves = _matching("a tangent of jvp", tangent, tree, types)
        tangents.append(leaves if isinstance(start, list) else leaves[0])
    _, along, left = jax.jvp(point.pure, (point.start,), (tangents,), has_aux=True)
    value, aux = point.finish(left)
    tangent = point.out_tree.unflatten(along)
    return (value, tangent, aux) if request.has_aux else (value, tangent)


def _of_states(request: Request, tangents: Any) -> list:
    """The tangent of each State."""
    if not request.states:
        return []
    if len(request.slots) > len(request.states):
        raise ValueError("jvp got the same State twice in grad_states; name each once")
    try:
        found = request.structure.flatten_up_to(tangents)
    except ValueError as error:
        raise ValueError(
            f"state_tangents of jvp must have the structure of grad_states: {error}"
        ) from None
    return found


def _matching(what: str, given: Any, tree: Any, types: list) -> list:
    """The leaves of `given`, which must be what `tree` and `types` say; units may be left out."""
    leaves, found = jax.tree.flatten(given)
    if found != tree and found != without_units(tree):
        raise ValueError(f"{what} must have the structure {tree}, got {found}")
    for leaf, expected in zip(leaves, types, strict=True):
        if jnp.shape(leaf) != expected.shape:
            raise ValueError(f"{what} must have the shape {expected.shape}, got {jnp.shape(leaf)}")
    pairs = zip(leaves, types, strict=True)
    return [vary(jnp.asarray(leaf, t.dtype), varying(t)) for leaf, t in pairs]


def _from_the_front(n: int, count: int) -> int:
    return n + count if -count <= n < 0 else n
