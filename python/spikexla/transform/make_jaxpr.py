"""`make_jaxpr`: what jax sees of a function of States."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .static import StaticArguments
from .trace import Traced


def make_jaxpr(
    fun: Callable,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
    axis_env: Sequence[tuple[Any, int]] | None = None,
    return_shape: bool = False,
    return_only_write: bool = False,
) -> Callable:
    """A function that gives (jaxpr, states) of `fun`, and the shapes of its result if asked.

    The jaxpr takes the arrays of the arguments, then those of the states that `fun` met, in order;
    it gives those of the result, then of the states written and of those created.  Nothing runs,
    and no State changes.
    return_only_write: of the states, only those written.  axis_env: (name, size) of axes that
    `fun` may reduce over.

    >>> jaxpr, states = make_jaxpr(lambda x: net(x))(jnp.ones(3))
    >>> len(states), len(jaxpr.in_avals)
    (1, 3)
    """
    static = StaticArguments(fun, static_argnums, static_argnames)

    @functools.wraps(fun, updated=())
    def inspected(*args: Any, **kwargs: Any) -> tuple:
        traced = Traced(static.call, *static.mark(args, kwargs), axis_env=axis_env, refuse=False)
        states = tuple(traced.written if return_only_write else traced.states)
        shapes = (traced.result(traced.out_shapes),) if return_shape else ()
        return (traced.jaxpr, states, *shapes)

    return inspected
