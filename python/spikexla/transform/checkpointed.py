"""`checkpointed_scan` and `checkpointed_for_loop`: loops whose gradient keeps few of the steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .loops import length_of, loop_over, over_arguments
from .progress import ProgressBar, bar_of, showing, teller
from .staged import staged


def checkpointed_scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    base: int = 16,
    *,
    pbar: ProgressBar | int | None = None,
) -> tuple[Any, Any]:
    """As `scan`, but its gradient keeps the carries of base * log(length) steps, not of all.

    The loop is cut into at most `base` equal parts and a rest, and these again, until a part has at
    most `base` steps.  The backward pass keeps the carry at the cuts and runs the parts again:
    each step at most log(length) / log(base) times more.  A bar moves at the outer cuts, and its
    `desc` is told "i" only.

    >>> total, _ = checkpointed_scan(lambda c, x: (c + x, None), 0.0, jnp.arange(100.0), base=4)
    >>> float(total)
    4950.0
    """
    if isinstance(base, bool) or not isinstance(base, int) or base < 2:
        raise ValueError(f"base of a checkpointed loop is an integer of at least 2, got {base!r}")
    bar = bar_of(pbar)
    return showing(bar, staged, _checkpointed_scan, (f, length, base, bar), (init, xs))


def checkpointed_for_loop(
    f: Callable[..., Any],
    *xs: Any,
    length: int | None = None,
    base: int = 16,
    pbar: ProgressBar | int | None = None,
) -> Any:
    """As `for_loop`, with the bounded memory of `checkpointed_scan`.

    >>> checkpointed_for_loop(lambda x: 2 * x, jnp.arange(4), base=2)
    Array([0, 2, 4, 6], dtype=int32)
    """
    return checkpointed_scan(over_arguments(f), None, xs, length, base, pbar=pbar)[1]


def _checkpointed_scan(subject: tuple, init: Any, xs: Any) -> tuple[Any, Any]:
    f, length, base, bar = subject
    tell = None if bar is None else teller(bar, length_of(xs, length))
    return loop_over(f, init, xs, length, functools.partial(_nested, base, tell, 0))


def _nested(
    base: int, tell: Callable | None, done: int, body: Callable, carry: Any, xs: list, length: int
) -> tuple[Any, list]:
    """`jax.lax.scan(body, carry, xs, length)`, cut into checkpointed parts.

    `tell` gets the number of steps that are done, between the outer parts: inside of them, steps
    run again for the gradient.
    """
    if length <= base:
        return _scan(body, carry, xs, length, tell, done, 1)
    part = base
    while part * base < length:
        part *= base
    whole = length // part
    cut = whole * part

    def run_part(carry: Any, xs: list) -> tuple[Any, list]:
        return _nested(base, None, 0, body, carry, xs, part)

    parts = [x[:cut].reshape(whole, part, *x.shape[1:]) for x in xs]
    # A scan's body is not merged with its recomputation, so `prevent_cse` has nothing to prevent.
    again = jax.checkpoint(run_part, prevent_cse=False)
    carry, ys = _scan(again, carry, parts, whole, tell, done, part)
    ys = [y.reshape(cut, *y.shape[2:]) for y in ys]
    if cut == length:
        return carry, ys
    rest = [x[cut:] for x in xs]
    carry, more = _nested(base, tell, done + cut, body, carry, rest, length - cut)
    return carry, [jnp.concatenate(pair) for pair in zip(ys, more, strict=True)]


def _scan(
    body: Callable, carry: Any, xs: list, n: int, tell: Callable | None, done: int, stride: int
) -> tuple[Any, list]:
    if tell is None:
        return jax.lax.scan(body, carry, xs, n)

    def telling(carry: Any, x: tuple) -> tuple[Any, list]:
        k, x = x
        out = body(carry, x)
        tell(done + (k + 1) * stride)
        return out

    return jax.lax.scan(telling, carry, (jnp.arange(n), xs), n)
