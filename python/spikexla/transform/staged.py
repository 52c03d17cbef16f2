"""Keeps the compiled programs of loops, gradients and branches that are called outside of `jit`.

Without this, each call of `for_loop(lambda ...)` would trace and compile again.  See `capture.py`
for when two functions count as the same.
"""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import jax

from ..active import ACTIVE
from ..atomic import Transaction
from ..config import config
from .jit import Kept
from .static import StaticArguments
from .trace import at_top_level

_MOST = 512  # functions; a function may have several programs
_kept: collections.OrderedDict[Hashable, Kept] = collections.OrderedDict()


def staged(
    transform: Callable[..., Any], subject: Any, args: tuple, kwargs: dict | None = None
) -> Any:
    """`transform(subject, *args, **kwargs)`, compiled and kept when called at top level.

    `subject` is everything that makes this call another program than the next: the functions and
    options.  Calls inside a trace, or with `config.cache_eager` off, run as they are.
    """
    kwargs = kwargs or {}
    if ACTIVE.frame is not None:
        return transform(subject, *args, **kwargs)
    if not config.cache_eager or not at_top_level():
        with Transaction():
            return transform(subject, *args, **kwargs)
    handle = transform, _handle(subject)
    kept = _kept.get(handle)
    if kept is None:
        for spent in [key for key, other in _kept.items() if other.spent]:
            _kept.pop(spent, None)
        kept = _kept[handle] = Kept(StaticArguments(transform, None), strict=True)
        if len(_kept) > _MOST:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(handle)
    return kept.call(functools.partial(transform, subject), (transform, subject), args, kwargs)


def _handle(subject: Any) -> Hashable:
    """Where to look: the code of the first function in it, or the address of an object.

    What is found there is compared with the subject, so a wrong place costs time only.
    """
    while isinstance(subject, tuple) and subject:
        subject = subject[0]
    if isinstance(subject, types.FunctionType):
        return subject.__code__
    if isinstance(subject, types.MethodType):
        return subject.__func__, id(subject.__self__)
    return type(subject), id(subject)


def clear_cache() -> None:
    """Forgets the programs of loops, gradients and branches that ran outside of `jit`."""
    _kept.clear()
    jax.clear_caches()
