"""From times to steps of dt: the one place where a time is divided by dt.

A time comes in any unit and type, so the quotient is rarely exact: 3000 us of float32 are
30.000002 steps of 0.1 ms, 0.15 ms are 1.4999999999999998. What is a whole or a half number of steps
but for that rounding is taken for it, here and nowhere else.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NEAR = 1e-3  # of a step: what Brian2 takes for rounding too
NEAR_FLOAT32 = 1e-6  # of the time: its own rounding, that of a change of units and of the quotient
MOST_NEAR = 0.2  # of a step: halves stay apart


def in_steps(ms: Any, dt: Any) -> Any:
    """`ms / dt`, made a whole or half number where it is one but for rounding.

    Numbers, lists and numpy arrays give a numpy array of float64; arrays of jax give one of jax, of
    at least float32. Off by NEAR of a step counts as rounding, and in types narrower than float64
    also NEAR_FLOAT32 of the time.

    >>> in_steps([0.3, 0.15, 0.13], 0.1).tolist(), float(in_steps(np.float32(4.3), 0.1))
    ([3.0, 1.5, 1.3], 43.0)
    """
    xp: Any = jnp if isinstance(ms, jax.Array) else np
    given = xp.asarray(ms)
    wide = jnp.promote_types(given.dtype, np.float32) if xp is jnp else np.float64
    steps = given.astype(wide) / dt
    narrow = given.dtype.itemsize < 8 and jnp.issubdtype(given.dtype, jnp.floating)
    with np.errstate(invalid="ignore"):  # an infinite time is no whole number, and stays
        near = xp.clip(steps * (NEAR_FLOAT32 if narrow else 0.0), NEAR, MOST_NEAR)
        half = xp.rint(2 * steps) / 2
        return xp.where(abs(steps - half) <= near, half, steps)


def steps_up(ms: Any, dt: Any) -> Any:
    """The steps of `dt` that cover `ms`, as floats of the type of `in_steps`."""
    steps = in_steps(ms, dt)
    return (np if isinstance(steps, np.ndarray) else jnp).ceil(steps)


def nearest_steps(ms: Any, dt: float) -> np.ndarray:
    """The number of steps of `dt` that is nearest to `ms`, as float64; a half goes up.

    >>> nearest_steps([0.14, 0.15, 0.25], 0.1).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.floor(in_steps(np.asarray(ms), dt) + 0.5)


def whole_steps(ms: Any, dt: float) -> int | None:
    """The steps of `dt` in one time `ms`; None where that is no whole number.

    >>> whole_steps(1000.1, 0.1), whole_steps(0.25, 0.1)
    (10001, None)
    """
    steps = float(in_steps(np.asarray(ms), dt))
    return int(steps) if steps.is_integer() else None


def decimal(x: Any) -> float:
    """The number of six digits that `x` of float32 stands for, if rounding alone divides the two.

    So a dt that came as float32 is that of somebody who wrote 0.1.

    >>> decimal(np.float32(0.1)), decimal(0.1), decimal(np.float32(1 / 3))
    (0.1, 0.1, 0.3333333432674408)
    """
    number = float(x)
    if isinstance(x, float | int) or np.asarray(x).dtype.itemsize >= 8:
        return number
    written = float(f"{number:.6g}")
    return written if abs(written - number) <= NEAR_FLOAT32 / 2 * abs(number) else number
