"""Keeps the compiled programs of loops, gradients and branches that are called outside of `jit`.

Without this, each call of `for_loop(lambda ...)` would trace and compile again.  See `capture.py`
for when two functions count as the same.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import jax

from ..active import ACTIVE
from ..atomic import Transaction
from ..config import config
from .capture import Capture, Unkeyable
from .jit import JittedFunction
from .trace import at_top_level

_MOST = 128
_kept: collections.OrderedDict[Any, JittedFunction] = collections.OrderedDict()
_seen_once: collections.deque[int] = collections.deque(maxlen=_MOST)


def staged(
    transform: Callable[..., Any], subject: Any, args: tuple, kwargs: dict | None = None
) -> Any:
    """`transform(subject, *args, **kwargs)`, compiled and kept when called at top level.

    `subject` is everything that makes this call another program than the next: the functions and
    options.  Calls inside a trace, with `config.cache_eager` off, or of a function whose changes
    cannot be noticed, run as they are.
    """
    kwargs = kwargs or {}
    if ACTIVE.frame is not None:
        return transform(subject, *args, **kwargs)
    if not config.cache_eager or not at_top_level():
        return _as_it_is(transform, subject, args, kwargs)
    try:
        captured = Capture((transform, subject))
    except Unkeyable:
        return _as_it_is(transform, subject, args, kwargs)
    compiled = _kept.get(captured.key)
    if compiled is None:
        # A closure over arrays is kept from its second call on: a fresh batch in each closure
        # would fill the memory with programs that no call ever finds again.
        if captured.has_arrays and hash(captured.key) not in _seen_once:
            _seen_once.append(hash(captured.key))
            return _as_it_is(transform, subject, args, kwargs)

        def run(*args: Any, **kwargs: Any) -> Any:
            return transform(subject, *args, **kwargs)

        compiled = _kept[captured.key] = JittedFunction(run)
        if len(_kept) > _MOST:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(captured.key)
    return compiled(*args, **kwargs)


def _as_it_is(transform: Callable[..., Any], subject: Any, args: tuple, kwargs: dict) -> Any:
    with Transaction():
        return transform(subject, *args, **kwargs)


def clear_cache() -> None:
    """Forgets the programs of loops, gradients and branches that ran outside of `jit`."""
    _kept.clear()
    jax.clear_caches()
