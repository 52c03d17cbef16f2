"""Discrete laws and choices, by their names in numpy.random and brainstate.random."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..units import is_quantity
from .draw import Draws, Size, probability


class Discrete(Draws):
    """Draws of integers, of truth values, and of elements of an array."""

    __slots__ = ()

    def randint(
        self, low: Any, high: Any = None, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Integers from low to high - 1; from 0 to low - 1 without `high`."""
        low, high = (0, low) if high is None else (low, high)
        return self._counts(_randint, (low, high), size, key, dtype)

    def random_integers(
        self, low: Any, high: Any = None, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Integers from low to high, both included; from 1 to low without `high`."""
        low, high = (1, low) if high is None else (low, high)
        return self.randint(low, high + 1, size, key, dtype)

    def randint_like(
        self, like: Any, low: Any = 0, high: Any = None, *, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Integers as of `randint`, of the shape and dtype of an array."""
        return self.randint(low, high, jnp.shape(like), key, dtype or jnp.result_type(like))

    def bernoulli(self, p: Any = 0.5, size: Size = None, key: Any = None) -> jax.Array:
        """True with probability `p`."""
        plain = (probability(p, "bernoulli"),)
        return self.draw(_bernoulli, (), size, key, jnp.bool_, plain=plain)

    def binomial(
        self, n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """How many of `n` trials succeed, each with probability `p`."""
        return self._counts(_binomial, (n, probability(p, "binomial")), size, key, dtype)

    def negative_binomial(
        self, n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """How many trials fail before `n` succeed, each with probability `p`."""
        p = probability(p, "negative_binomial")
        return self._counts(_negative_binomial, (n, p), size, key, dtype)

    def geometric(self, p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """How many trials it takes until one succeeds: 1 or more."""
        return self._counts(_geometric, (probability(p, "geometric"),), size, key, dtype)

    def poisson(
        self, lam: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Counts of mean `lam`."""
        return self._counts(_poisson, (lam,), size, key, dtype)

    def multinomial(
        self, n: Any, pvals: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """How often each outcome comes in `n` trials, of probabilities `pvals` (..., outcomes)."""
        lead = jnp.broadcast_shapes(jnp.shape(n), jnp.shape(pvals)[:-1])
        plain = (n, probability(pvals, "multinomial"))
        return self._counts(_multinomial, plain, size, key, dtype, default=lead)

    def categorical(
        self, logits: Any, axis: int = -1, size: Size = None, key: Any = None
    ) -> jax.Array:
        """Indices along `axis`, with probabilities in proportion to the exponential of `logits`."""
        lead = tuple(np.delete(jnp.shape(logits), axis).tolist())
        return self._counts(_Categorical(axis), (logits,), size, key, None, default=lead)

    def choice(
        self, a: Any, size: Size = None, replace: bool = True, p: Any = None, key: Any = None
    ) -> Any:
        """Elements of the array `a`, or of range(a), with the probabilities `p` if given."""
        a = _elements(a)
        many = int(np.prod(size)) if size is not None else 1
        if not replace and many > a.shape[0]:
            raise ValueError(
                f"choice of {many} out of {a.shape[0]} elements needs replace=True, or take fewer"
            )
        law, plain = _Choice(bool(replace), p is not None), (() if p is None else (p,))
        return self.draw(law, (a,), size, key, _dtype(a), plain=plain, default=())

    def permutation(self, x: Any, axis: int = 0, independent: bool = False, key: Any = None) -> Any:
        """The array `x`, or range(x), in random order along `axis`.

        With `independent` each line along the axis has an order of its own.
        """
        x = _elements(x)
        law = _Permutation(operator.index(axis), bool(independent))
        return self.draw(law, (x,), x.shape, key, _dtype(x))

    def shuffle(self, x: Any, axis: int = 0, key: Any = None) -> Any:
        """A copy of the array `x` in random order along `axis`; `x` itself stays as it is."""
        return self.permutation(x, axis, key=key)

    def _counts(
        self, law: Any, plain: tuple, size: Size, key: Any, dtype: Any, default: Any = None
    ) -> jax.Array:
        dtype = dtype or environ.ditype()
        return self.draw(law, (), size, key, dtype, plain=plain, default=default)


class _Choice(NamedTuple):
    replace: bool
    weighted: bool

    def __call__(self, key: Any, shape: tuple, dtype: Any, *params: Any) -> jax.Array:
        *weights, a = params
        return jax.random.choice(key, a, shape, self.replace, *weights)


class _Permutation(NamedTuple):
    axis: int
    independent: bool

    def __call__(self, key: Any, shape: tuple, dtype: Any, x: Any) -> jax.Array:
        return jax.random.permutation(key, x, self.axis, independent=self.independent)


class _Categorical(NamedTuple):
    axis: int

    def __call__(self, key: Any, shape: tuple, dtype: Any, logits: Any) -> jax.Array:
        return jax.random.categorical(key, logits, self.axis, shape)


def _randint(key: Any, shape: tuple, dtype: Any, low: Any, high: Any) -> jax.Array:
    return jax.random.randint(key, shape, low, high, dtype)


def _bernoulli(key: Any, shape: tuple, dtype: Any, p: Any) -> jax.Array:
    return jax.random.bernoulli(key, p, shape)


def _binomial(key: Any, shape: tuple, dtype: Any, n: Any, p: Any) -> jax.Array:
    return jax.random.binomial(key, jnp.asarray(n, float), jnp.asarray(p, float), shape)


def _negative_binomial(key: Any, shape: tuple, dtype: Any, n: Any, p: Any) -> jax.Array:
    # A Poisson count whose mean is drawn from a gamma.
    means, counts = jax.random.split(key)
    mean = jax.random.gamma(means, jnp.asarray(n, float), shape) * (1 - p) / p
    return jax.random.poisson(counts, mean, shape, dtype)


def _geometric(key: Any, shape: tuple, dtype: Any, p: Any) -> jax.Array:
    return jax.random.geometric(key, p, shape, dtype)


def _poisson(key: Any, shape: tuple, dtype: Any, lam: Any) -> jax.Array:
    return jax.random.poisson(key, lam, shape, dtype)


def _multinomial(key: Any, shape: tuple, dtype: Any, n: Any, p: Any) -> jax.Array:
    p = jnp.asarray(p, float)
    # No `shape=` for jax: since 0.11 it is without the axis of outcomes, before it was with it.
    trials = jnp.broadcast_to(jnp.asarray(n, float), shape)
    return jax.random.multinomial(key, trials, jnp.broadcast_to(p, (*shape, p.shape[-1])))


def _elements(a: Any) -> Any:
    """An array of one axis or more; range(a) for an int."""
    if is_quantity(a):
        found = a
    elif isinstance(a, int | np.integer) and not isinstance(a, bool):
        found = jnp.arange(a)
    else:
        found = jnp.asarray(a)
    if jnp.ndim(found) == 0 or found.shape[0] == 0:
        raise ValueError(
            f"there is nothing to draw from in {a!r}; give a number above 0 or an array"
        )
    return found


def _dtype(a: Any) -> Any:
    return jnp.result_type(a.mantissa if is_quantity(a) else a)
