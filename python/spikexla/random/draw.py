"""One draw: the next key of a stream, a law, a shape, in one compiled call.

A law is a function `law(key, shape, dtype, *parameters)` that is hashable by value, so that equal
draws share a program.  Parameters are operands: their values compile nothing anew.
"""

from __future__ import annotations

import abc
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..units import is_quantity

Size = int | Sequence[int] | None
IMPL = "threefry2x32"  # counter-based: the same numbers on every device


class Draws(abc.ABC):
    """Base of what draws random numbers: it has a key that each draw moves on."""

    __slots__ = ()

    value: Any  # the key, as unsigned integers

    def draw(
        self,
        law: Callable[..., jax.Array],
        params: tuple,
        size: Size,
        key: Any,
        dtype: Any,
        *,
        plain: tuple = (),
        default: tuple[int, ...] | None = None,
    ) -> Any:
        """A draw from `law(key, shape, dtype, *plain, *params)`.

        params: in one unit, which the result has too; None is zero in any.  plain: parameters
        without a unit.  default: the shape when `size` is None, else that of the parameters.
        """
        numbers, unit = _numbers(params)
        for p in plain:
            if is_quantity(p):
                raise TypeError(f"{p!r} has a unit where a random law takes a plain number")
        numbers = (*plain, *numbers)
        if default is None:
            default = np.broadcast_shapes(*map(jnp.shape, numbers))
        shape, dtype = as_shape(size, default), jnp.dtype(dtype)
        with jax.transfer_guard_host_to_device("allow"):  # seeds and parameters are numbers
            if key is not None:
                drawn = _sample(law, shape, dtype, key_data(key), numbers)
            else:
                self.value, drawn = _advance(law, shape, dtype, self.value, numbers)
        return drawn if unit is None else drawn * unit


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(law: Callable, shape: tuple, dtype: Any, raw: Any, params: tuple) -> jax.Array:
    # The barriers keep the compiler from mixing a draw with what is around it, which would change
    # the last bit of some numbers between a compiled function and the same code run eagerly.
    raw, params = jax.lax.optimization_barrier((raw, params))
    params = tuple(_opaque(p, raw) for p in params)
    drawn = law(jax.random.wrap_key_data(raw, impl=IMPL), shape, dtype, *params)
    return jax.lax.optimization_barrier(drawn.astype(dtype))


def _opaque(param: Any, raw: Any) -> Any:
    """The parameter as something that the compiler cannot compute with, even if it is a constant.

    Otherwise a constant would be folded in a compiled function and be an operand in an eager draw.
    """
    dtype = jnp.result_type(param)
    if not jnp.issubdtype(dtype, jnp.floating):
        return param
    zero = (raw[0] * raw[0] + raw[0]) & 1  # x (x + 1) is even, which compilers do not know
    return param + zero.astype(dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(law: Callable, shape: tuple, dtype: Any, raw: Any, params: tuple) -> tuple:
    keys = split(raw, 2)
    return keys[0], _sample(law, shape, dtype, keys[1], params)


@functools.partial(jax.jit, static_argnums=1)
def split(raw: Any, n: int) -> jax.Array:
    """n keys from one, as unsigned integers."""
    return jax.random.key_data(jax.random.split(jax.random.wrap_key_data(raw, impl=IMPL), n))


def key_data(seed: Any) -> Any:
    """The raw key that an integer, a key or a raw key stands for."""
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        if seed.shape or str(jax.random.key_impl(seed)) != IMPL:
            raise TypeError(
                f"a key is one key of {IMPL}, got {jax.random.key_impl(seed)} of shape "
                f"{seed.shape}; make it with jax.random.key(seed, impl={IMPL!r})"
            )
        return jax.random.key_data(seed)
    if isinstance(seed, jax.Array | np.ndarray) and seed.ndim > 0:
        if seed.shape != (2,):
            raise TypeError(f"a raw key is two unsigned integers, got an array of {seed.shape}")
        return jnp.asarray(seed, jnp.uint32)
    try:
        number = seed if isinstance(seed, Tracer) else operator.index(seed)
    except TypeError:
        raise TypeError(f"a seed is an integer or a jax random key, got {seed!r}") from None
    return jax.random.key_data(jax.random.key(number, impl=IMPL))


def _numbers(params: tuple) -> tuple[tuple, Any]:
    """The parameters as numbers of their common unit, and the unit (None without)."""
    given = [p for p in params if p is not None]
    unit = next((p.unit for p in given if is_quantity(p)), None)
    for p in given if unit is not None else ():
        if not is_quantity(p) or not p.unit.has_same_dim(unit):
            raise TypeError(
                f"a parameter of a random draw is {p!r} while another is in {unit}; "
                "give both in units of one dimension"
            )
    return tuple(
        0.0 if p is None else p if unit is None else p.to_decimal(unit) for p in params
    ), unit


def as_shape(size: Size, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """`size` as a tuple; `default` for None."""
    if size is None:
        return default
    sizes: Any = size if isinstance(size, list | tuple) else (size,)
    try:
        shape = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"size must be an int or a tuple of ints, got {size!r}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"size must not be negative, got {size!r}")
    return shape


def probability(p: Any, law: str) -> Any:
    """`p`, of which every number that is known must be from 0 to 1."""
    if not isinstance(p, Tracer) and not is_quantity(p):
        known = np.asarray(p)
        if not bool(np.all((known >= 0) & (known <= 1))):
            raise ValueError(f"{law} takes probabilities between 0 and 1, got {p!r}")
    return p
