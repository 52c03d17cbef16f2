"""Random draws from one seeded stream, the same numbers compiled or not.

The stream is a State that holds a key.  Each draw splits it: the first half is the new key of the
stream, the second makes the numbers.  Every draw takes `key=` to use that key instead, and
`dtype=`; `size` is an int or a tuple, None for the common shape of the parameters.  Parameters may
be quantities of brainunit.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from . import environ
from .state import LEAF, State
from .units import is_quantity

Size = int | Sequence[int] | None
_IMPL = "threefry2x32"  # counter-based: the same numbers on every device


class RandomState(State):
    """A stream of random keys.  `spikexla.random.DEFAULT` is the one that draws take.

    >>> stream = RandomState(0)
    >>> stream.split_key().shape, stream.split_key(3).shape
    ((), (3,))
    """

    __slots__ = ()

    def __init__(self, seed: int | jax.Array, name: str | None = None) -> None:
        super().__init__(_key_data(seed), name)

    def seed(self, seed: int | jax.Array) -> None:
        """Starts the stream again from an integer or a key."""
        self.value = _key_data(seed)

    def split_raw(self, n: int | None = None) -> jax.Array:
        """The next key, or the next n keys, as unsigned integers."""
        keys = _split(self.value, 2 if n is None else n + 1)
        self.value = keys[0]
        return keys[1] if n is None else keys[1:]

    def split_key(self, n: int | None = None) -> jax.Array:
        """The next key of the stream, or the next n keys as an array of keys."""
        return jax.random.wrap_key_data(self.split_raw(n), impl=_IMPL)


def _key_data(seed: Any) -> Any:
    if isinstance(seed, jax.Array | np.ndarray) and jnp.ndim(seed) > 0:
        return jnp.asarray(seed, jnp.uint32)
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(seed)
    try:
        number = seed if isinstance(seed, Tracer) else operator.index(seed)
    except TypeError:
        raise TypeError(f"a seed is an integer or a jax random key, got {seed!r}") from None
    return jax.random.key_data(jax.random.key(number, impl=_IMPL))


@functools.partial(jax.jit, static_argnums=1)
def _split(raw: Any, n: int) -> jax.Array:
    return jax.random.key_data(jax.random.split(jax.random.wrap_key_data(raw, impl=_IMPL), n))


DEFAULT = RandomState.__new__(RandomState)
# Importing the package must not start jax's devices, so the first key is made by numpy.
DEFAULT.__setstate__({"value": [], "name": "random.DEFAULT", "tag": None, "attributes": {}})
DEFAULT._raw, DEFAULT._tree = np.random.SeedSequence().generate_state(2), LEAF


def seed(seed: int | jax.Array) -> None:
    """Starts the stream again; an integer also seeds numpy, which host-side helpers draw from.

    >>> seed(0)
    >>> float(rand()) == float((seed(0), rand())[1])
    True
    """
    DEFAULT.seed(seed)
    if not isinstance(seed, jax.Array | np.ndarray):
        np.random.seed(operator.index(seed) % 2**32)


@contextlib.contextmanager
def seed_context(value: int | jax.Array) -> Iterator[None]:
    """Draws from a stream of its own inside the block; the stream outside does not notice."""
    before = DEFAULT.value
    DEFAULT.seed(value)
    try:
        yield
    finally:
        DEFAULT.value = before


def split_key(n: int | None = None) -> jax.Array:
    """The next key of the stream, or the next n of them."""
    return DEFAULT.split_key(n)


# -- draws: `rand(2, 3)` and `randn(2, 3)` take a shape, the others `size=` -----------------------


def rand(*shape: int, key: Any = None, dtype: Any = None) -> jax.Array:
    """Uniform in [0, 1)."""
    return uniform(size=shape, key=key, dtype=dtype)


def randn(*shape: int, key: Any = None, dtype: Any = None) -> jax.Array:
    """Normal with mean 0 and standard deviation 1."""
    return normal(size=shape, key=key, dtype=dtype)


def uniform(
    low: Any = 0.0, high: Any = 1.0, size: Size = None, *, key: Any = None, dtype: Any = None
) -> Any:
    """Uniform in [low, high)."""
    return _draw(_uniform, (low, high), size, key, dtype or environ.dftype())


def normal(
    loc: Any = 0.0, scale: Any = 1.0, size: Size = None, *, key: Any = None, dtype: Any = None
) -> Any:
    """Normal with mean `loc` and standard deviation `scale`."""
    return _draw(_normal, (loc, scale), size, key, dtype or environ.dftype())


def exponential(scale: Any = 1.0, size: Size = None, *, key: Any = None, dtype: Any = None) -> Any:
    """Exponential with mean `scale`."""
    return _draw(_exponential, (scale,), size, key, dtype or environ.dftype())


def randint(
    low: Any, high: Any = None, size: Size = None, *, key: Any = None, dtype: Any = None
) -> jax.Array:
    """Integers from low to high - 1; from 0 to low - 1 without `high`."""
    low, high = (0, low) if high is None else (low, high)
    return _draw(_randint, (low, high), size, key, dtype or environ.ditype())


def bernoulli(p: Any = 0.5, size: Size = None, *, key: Any = None) -> jax.Array:
    """True with probability `p`."""
    if not isinstance(p, Tracer) and not bool(np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1))):
        raise ValueError(f"bernoulli takes probabilities between 0 and 1, got {p!r}")
    return _draw(_bernoulli, (p,), size, key, jnp.bool_)


def poisson(lam: Any = 1.0, size: Size = None, *, key: Any = None, dtype: Any = None) -> jax.Array:
    """Counts of mean `lam`."""
    return _draw(_poisson, (lam,), size, key, dtype or environ.ditype())


def choice(
    a: Any, size: Size = None, replace: bool = True, p: Any = None, *, key: Any = None
) -> Any:
    """Elements of the array `a`, or of range(a), with the probabilities `p` if given."""
    shape = _shape(size, ())
    if is_quantity(a):
        return type(a)(choice(a.mantissa, size, replace, p, key=key), unit=a.unit)
    a = a if isinstance(a, int) else jnp.asarray(a)
    return jax.random.choice(_key(key), a, shape, replace, p)


def permutation(x: Any, axis: int = 0, *, key: Any = None) -> Any:
    """The array `x`, or range(x), in random order along `axis`."""
    if is_quantity(x):
        return type(x)(permutation(x.mantissa, axis, key=key), unit=x.unit)
    return jax.random.permutation(_key(key), x if isinstance(x, int) else jnp.asarray(x), axis)


def _uniform(key: Any, shape: tuple, dtype: Any, low: Any, high: Any) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, low, high)


def _normal(key: Any, shape: tuple, dtype: Any, loc: Any, scale: Any) -> jax.Array:
    return (loc + scale * jax.random.normal(key, shape, dtype)).astype(dtype)


def _exponential(key: Any, shape: tuple, dtype: Any, scale: Any) -> jax.Array:
    return (scale * jax.random.exponential(key, shape, dtype)).astype(dtype)


def _randint(key: Any, shape: tuple, dtype: Any, low: Any, high: Any) -> jax.Array:
    return jax.random.randint(key, shape, low, high, dtype)


def _bernoulli(key: Any, shape: tuple, dtype: Any, p: Any) -> jax.Array:
    return jax.random.bernoulli(key, p, shape).astype(dtype)


def _poisson(key: Any, shape: tuple, dtype: Any, lam: Any) -> jax.Array:
    return jax.random.poisson(key, lam, shape, dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(law: Callable, shape: tuple, dtype: Any, raw: Any, params: tuple) -> jax.Array:
    # The barriers keep the compiler from mixing a draw with what is around it, which would change
    # the last bit of some numbers between a compiled function and the same code run eagerly.
    raw, params = jax.lax.optimization_barrier((raw, params))
    drawn = law(jax.random.wrap_key_data(raw, impl=_IMPL), shape, dtype, *params)
    return jax.lax.optimization_barrier(drawn)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(law: Callable, shape: tuple, dtype: Any, raw: Any, params: tuple) -> tuple:
    keys = _split(raw, 2)
    return keys[0], _sample(law, shape, dtype, keys[1], params)


def _draw(law: Callable, params: tuple, size: Size, key: Any, dtype: Any) -> Any:
    """A draw from `law(key, shape, dtype, *params)`, a function that is hashable by value."""
    numbers, unit = _numbers(params)
    shape = _shape(size, np.broadcast_shapes(*map(jnp.shape, numbers)))
    dtype = jnp.dtype(dtype)
    if key is not None:
        drawn = _sample(law, shape, dtype, _key_data(key), numbers)
    else:
        DEFAULT.value, drawn = _advance(law, shape, dtype, DEFAULT.value, numbers)
    return drawn if unit is None else drawn * unit


def _numbers(params: tuple) -> tuple[tuple, Any]:
    """The parameters as numbers of their common unit, and the unit (None without)."""
    unit = next((p.unit for p in params if is_quantity(p)), None)
    if unit is None:
        return params, None
    for p in params:
        if not is_quantity(p) or not p.unit.has_same_dim(unit):
            raise TypeError(
                f"a parameter of a random draw is {p!r} while another is in {unit}; "
                "give both in units of one dimension"
            )
    return tuple(p.to_decimal(unit) for p in params), unit


def _shape(size: Size, default: tuple[int, ...]) -> tuple[int, ...]:
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


def _key(key: Any) -> Any:
    if key is None:
        return split_key()
    return jax.random.wrap_key_data(_key_data(key), impl=_IMPL)
