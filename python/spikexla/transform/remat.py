"""`checkpoint`: computes a function again in the backward pass instead of keeping its residuals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from .static import StaticArguments
from .trace import Traced, read, split


def checkpoint(
    fun: Callable | None = None,
    *,
    prevent_cse: bool = True,
    policy: Any = None,
    static_argnums: int | Sequence[int] = (),
) -> Any:
    """`jax.checkpoint` for a function that may read and write States; also called `remat`.

    policy: which values to keep all the same (`jax.checkpoint_policies`).
    static_argnums: arguments that are constants of the trace; those that are no data always are.

    >>> slim = checkpoint(lambda x: net(x))
    >>> slim(jnp.ones(3)).shape
    (2,)
    """
    if fun is None:
        return functools.partial(
            checkpoint, prevent_cse=prevent_cse, policy=policy, static_argnums=static_argnums
        )
    static = StaticArguments(fun, static_argnums)

    @functools.wraps(fun, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = static.mark(args, kwargs)
        traced = Traced(static.call, args, kwargs)
        again = jax.checkpoint(traced.call, policy=policy, prevent_cse=prevent_cse)
        out, written, new = again(split((args, kwargs))[0], read(traced.states))
        traced.commit(written, new)
        return traced.result(out)

    return run


remat = checkpoint
