"""`checkpoint`: computes a function again in the backward pass instead of keeping its residuals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from .trace import Traced, commit, read, split


def checkpoint(fun: Callable | None = None, *, policy: Any = None, prevent_cse: bool = True) -> Any:
    """`jax.checkpoint` for a function that may read and write States.

    >>> slim = checkpoint(lambda x: net(x))
    >>> slim(jnp.ones(3)).shape
    (2,)
    """
    if fun is None:
        return functools.partial(checkpoint, policy=policy, prevent_cse=prevent_cse)

    @functools.wraps(fun, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        traced = Traced(fun, args, kwargs)
        traced.refuse_new("a checkpointed function")
        again = jax.checkpoint(traced.call, policy=policy, prevent_cse=prevent_cse)
        out, written, _ = again(split((args, kwargs))[0], read(traced.states))
        commit(traced.written, written, traced.written_trees)
        return traced.result(out)

    return run
