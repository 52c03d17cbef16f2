"""`jit_error_if`: an error in a compiled function, decided by the values it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_batching import custom_vmap

from .progress import DISPLAY
from .trace import join, split


def jit_error_if(pred: Any, error: Callable | str, *err_args: Any, **err_kwargs: Any) -> None:
    """Raises when `pred`, or any element of it, is true; also inside jit, loops, vmap and grad.

    error: a message, filled in with the arguments as `message % args` or `message.format(...)` and
    raised as ValueError; or a function that raises, called with the arguments.
    The arguments may be traced.  Outside of compiled functions the error is raised as it is; from
    inside, jax raises `jax.errors.JaxRuntimeError` with its message, where devices run ahead only
    when a result is used.

    >>> jit_error_if(jnp.asarray(1.0) < 0, "the rate is {r}, but a rate is positive", r=1.0)
    """

    pred = jnp.asarray(pred)
    data, statics, tree = split((err_args, err_kwargs))

    def check(pred: Any, data: list) -> None:
        if np.any(pred):
            DISPLAY.close()
            _raise(error, *join(tree, statics, data))

    if not isinstance(pred, Tracer):
        check(pred, data)
        return
    # The branch depends on no lane of a vmap, else both branches would run for all lanes.  The
    # callback gets the lane's own predicate, for it is called for each.
    jax.lax.cond(
        _in_any_lane(jnp.any(pred)), lambda: jax.debug.callback(check, pred, data), lambda: None
    )


def _raise(error: Callable | str, args: tuple, kwargs: dict) -> NoReturn:
    if callable(error):
        error(*args, **kwargs)
        raise ValueError(f"{error} was called to raise an error, and did not")
    message = error
    if args:
        try:
            message = error % args
        except (TypeError, ValueError):
            message = error.format(*args)
    raise ValueError(message.format(**kwargs) if kwargs else message)


@custom_vmap
def _in_any_lane(pred: Any) -> Any:
    """`pred`; under vmap, whether it holds in any lane."""
    return pred


@_in_any_lane.def_vmap
def _(size: int, batched: list, pred: Any) -> tuple[Any, bool]:
    return _in_any_lane(jnp.any(pred, axis=0)), False
