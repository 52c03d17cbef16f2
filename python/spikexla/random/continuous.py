"""Continuous laws, by their names in numpy.random and brainstate.random."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import environ
from .draw import Draws, Size


class Continuous(Draws):
    """Draws of floating-point numbers, in the precision of the environment unless `dtype=` says.

    Every law takes `key=`, to draw from that key and leave the stream alone.
    """

    __slots__ = ()

    def rand(self, *shape: int, key: Any = None, dtype: Any = None) -> jax.Array:
        """Uniform in [0, 1)."""
        return self.uniform(size=shape, key=key, dtype=dtype)

    def randn(self, *shape: int, key: Any = None, dtype: Any = None) -> jax.Array:
        """Normal with mean 0 and standard deviation 1."""
        return self.normal(size=shape, key=key, dtype=dtype)

    def random(self, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Uniform in [0, 1)."""
        return self.uniform(size=size, key=key, dtype=dtype)

    def rand_like(self, like: Any, *, key: Any = None, dtype: Any = None) -> jax.Array:
        """Uniform in [0, 1), of the shape and dtype of an array."""
        return self.rand(*jnp.shape(like), key=key, dtype=dtype or jnp.result_type(like, 0.0))

    def randn_like(self, like: Any, *, key: Any = None, dtype: Any = None) -> jax.Array:
        """Standard normal, of the shape and dtype of an array."""
        return self.randn(*jnp.shape(like), key=key, dtype=dtype or jnp.result_type(like, 0.0))

    def uniform(
        self,
        low: Any = None,
        high: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Uniform in [low, high), from 0 by default."""
        return self.draw(_uniform, (low, high), size, key, dtype or environ.dftype())

    def normal(
        self,
        loc: Any = None,
        scale: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Normal with mean `loc` (0 by default) and standard deviation `scale`."""
        return self._located("normal", loc, scale, size, key, dtype)

    def standard_normal(self, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Normal with mean 0 and standard deviation 1."""
        return self.normal(size=size, key=key, dtype=dtype)

    def truncated_normal(
        self,
        lower: Any,
        upper: Any,
        size: Size = None,
        loc: Any = None,
        scale: Any = 1.0,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Normal with mean `loc` (0 by default) and deviation `scale`, within [lower, upper]."""
        params = (lower, upper, loc, scale)
        return self.draw(_truncated_normal, params, size, key, dtype or environ.dftype())

    def lognormal(
        self,
        mean: Any = 0.0,
        sigma: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> jax.Array:
        """The exponential of a normal with mean `mean` and standard deviation `sigma`."""
        return self._plain(_lognormal, (mean, sigma), size, key, dtype)

    def multivariate_normal(
        self, mean: Any, cov: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Normal vectors of mean `mean` (..., n) and covariance `cov` (..., n, n)."""
        lead = jnp.broadcast_shapes(jnp.shape(mean)[:-1], jnp.shape(cov)[:-2])
        return self._plain(_vectors, (mean, cov), size, key, dtype, default=lead)

    def exponential(
        self, scale: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None
    ) -> Any:
        """Exponential with mean `scale`."""
        return self.draw(_exponential, (scale,), size, key, dtype or environ.dftype())

    def standard_exponential(
        self, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Exponential with mean 1."""
        return self.exponential(size=size, key=key, dtype=dtype)

    def gamma(
        self,
        shape: Any,
        scale: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Gamma of the given shape parameter, with mean `shape * scale`."""
        dtype = dtype or environ.dftype()
        return self.draw(_gamma, (scale,), size, key, dtype, plain=(shape,))

    def standard_gamma(
        self, shape: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Gamma with mean `shape`."""
        return self.gamma(shape, 1.0, size, key, dtype)

    def loggamma(self, a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """The logarithm of a gamma of mean `a`, exact for small `a`."""
        return self._plain(_Of("loggamma"), (a,), size, key, dtype)

    def beta(
        self, a: Any, b: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Beta, with mean `a / (a + b)`."""
        return self._plain(_Of("beta"), (a, b), size, key, dtype)

    def dirichlet(
        self, alpha: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Vectors of parts that add up to one, with means in proportion to `alpha` (..., n)."""
        lead = jnp.shape(alpha)[:-1]
        return self._plain(_Of("dirichlet"), (alpha,), size, key, dtype, default=lead)

    def chisquare(
        self, df: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Sum of `df` squared standard normals."""
        return self._plain(_Of("chisquare"), (df,), size, key, dtype)

    def f(
        self, dfnum: Any, dfden: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Ratio of two chi-squares, each over its degrees of freedom (Fisher and Snedecor)."""
        return self._plain(_f, (dfnum, dfden), size, key, dtype)

    def t(self, df: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Student's t with `df` degrees of freedom."""
        return self._plain(_Of("t"), (df,), size, key, dtype)

    standard_t = t

    def standard_cauchy(self, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Cauchy with median 0 and half-width 1."""
        return self._plain(_Of("cauchy"), (), size, key, dtype)

    def gumbel(
        self,
        loc: Any = None,
        scale: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Gumbel (extreme values) with mode `loc`, 0 by default."""
        return self._located("gumbel", loc, scale, size, key, dtype)

    def laplace(
        self,
        loc: Any = None,
        scale: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Laplace with mean `loc`, 0 by default, and mean absolute deviation `scale`."""
        return self._located("laplace", loc, scale, size, key, dtype)

    def logistic(
        self,
        loc: Any = None,
        scale: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Logistic with mean `loc`, 0 by default."""
        return self._located("logistic", loc, scale, size, key, dtype)

    def maxwell(self, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Length of a standard normal vector of three axes (Maxwell)."""
        return self._plain(_Of("maxwell"), (), size, key, dtype)

    def pareto(self, a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Pareto II (Lomax) on [0, inf), as numpy has it: with mean `1 / (a - 1)`."""
        return self._plain(_pareto, (a,), size, key, dtype)

    def power(self, a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Density `a * x ** (a - 1)` on [0, 1]."""
        return self._plain(_power, (a,), size, key, dtype)

    def rayleigh(
        self, scale: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None
    ) -> Any:
        """Rayleigh with mode `scale`."""
        return self.draw(_rayleigh, (scale,), size, key, dtype or environ.dftype())

    def triangular(
        self,
        left: Any = None,
        mode: Any = 0.5,
        right: Any = 1.0,
        size: Size = None,
        key: Any = None,
        dtype: Any = None,
    ) -> Any:
        """A triangle over [left, right] with its top at `mode`; `left` is 0 by default."""
        dtype = dtype or environ.dftype()
        return self.draw(_Of("triangular"), (left, mode, right), size, key, dtype)

    def wald(
        self, mean: Any, scale: Any, size: Size = None, key: Any = None, dtype: Any = None
    ) -> Any:
        """Inverse Gaussian with mean `mean` and variance `mean ** 3 / scale`."""
        return self.draw(_wald, (mean, scale), size, key, dtype or environ.dftype())

    def weibull(self, a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
        """Weibull of shape `a` and scale 1."""
        return self.weibull_min(a, 1.0, size, key, dtype)

    def weibull_min(
        self, a: Any, scale: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None
    ) -> Any:
        """Weibull of shape `a`."""
        dtype = dtype or environ.dftype()
        return self.draw(_weibull, (scale,), size, key, dtype, plain=(a,))

    def orthogonal(
        self, n: int, size: Size = None, key: Any = None, dtype: Any = None
    ) -> jax.Array:
        """Orthogonal matrices n x n, each as probable as the other."""
        return self._plain(_Orthogonal(n), (), size, key, dtype)

    # -- families -----------------------------------------------------------------------------

    def _plain(
        self, law: Any, plain: tuple, size: Size, key: Any, dtype: Any, default: Any = None
    ) -> jax.Array:
        dtype = dtype or environ.dftype()
        return self.draw(law, (), size, key, dtype, plain=plain, default=default)

    def _located(self, name: str, loc: Any, scale: Any, size: Size, key: Any, dtype: Any) -> Any:
        return self.draw(_Located(name), (loc, scale), size, key, dtype or environ.dftype())


class _Of(NamedTuple):
    """The law of this name in jax.random, which takes its parameters before the shape."""

    name: str

    def __call__(self, key: Any, shape: tuple, dtype: Any, *params: Any) -> jax.Array:
        params = tuple(jnp.asarray(p, dtype) for p in params)
        return getattr(jax.random, self.name)(key, *params, shape=shape, dtype=dtype)


class _Located(NamedTuple):
    """A standard law of jax.random, scaled and moved."""

    name: str

    def __call__(self, key: Any, shape: tuple, dtype: Any, loc: Any, scale: Any) -> jax.Array:
        return loc + scale * getattr(jax.random, self.name)(key, shape, dtype)


class _Orthogonal(NamedTuple):
    n: int

    def __call__(self, key: Any, shape: tuple, dtype: Any) -> jax.Array:
        return jax.random.orthogonal(key, self.n, shape, dtype)


def _uniform(key: Any, shape: tuple, dtype: Any, low: Any, high: Any) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, low, high)


def _truncated_normal(
    key: Any, shape: tuple, dtype: Any, lower: Any, upper: Any, loc: Any, scale: Any
) -> jax.Array:
    low, high = (lower - loc) / scale, (upper - loc) / scale
    drawn = loc + scale * jax.random.truncated_normal(key, low, high, shape, dtype)
    return jnp.clip(drawn, lower, upper)  # the last rounding may step over


def _lognormal(key: Any, shape: tuple, dtype: Any, mean: Any, sigma: Any) -> jax.Array:
    return jnp.exp(mean + sigma * jax.random.normal(key, shape, dtype))


def _vectors(key: Any, shape: tuple, dtype: Any, mean: Any, cov: Any) -> jax.Array:
    mean, cov = jnp.asarray(mean, dtype), jnp.asarray(cov, dtype)
    return jax.random.multivariate_normal(key, mean, cov, shape, dtype)


def _exponential(key: Any, shape: tuple, dtype: Any, scale: Any) -> jax.Array:
    return scale * jax.random.exponential(key, shape, dtype)


def _gamma(key: Any, shape: tuple, dtype: Any, a: Any, scale: Any) -> jax.Array:
    return scale * jax.random.gamma(key, a, shape, dtype)


def _f(key: Any, shape: tuple, dtype: Any, dfnum: Any, dfden: Any) -> jax.Array:
    # One division: compilers are free to turn one of two quotients into products.
    keys = jax.random.split(key)
    x, y = (
        jax.random.gamma(k, jnp.asarray(df / 2, dtype), shape, dtype)
        for k, df in zip(keys, (dfnum, dfden), strict=True)
    )
    return (x * dfden) / (y * dfnum)


def _pareto(key: Any, shape: tuple, dtype: Any, a: Any) -> jax.Array:
    # expm1 instead of a power minus one, which would lose the small numbers.
    return jnp.expm1(jax.random.exponential(key, shape, dtype) / a)


def _power(key: Any, shape: tuple, dtype: Any, a: Any) -> jax.Array:
    return jnp.exp(-jax.random.exponential(key, shape, dtype) / a)


def _rayleigh(key: Any, shape: tuple, dtype: Any, scale: Any) -> jax.Array:
    return scale * jnp.sqrt(2 * jax.random.exponential(key, shape, dtype))


def _wald(key: Any, shape: tuple, dtype: Any, mean: Any, scale: Any) -> jax.Array:
    return scale * jax.random.wald(key, jnp.asarray(mean / scale, dtype), shape, dtype)


def _weibull(key: Any, shape: tuple, dtype: Any, a: Any, scale: Any) -> jax.Array:
    return scale * jax.random.exponential(key, shape, dtype) ** (1 / a)
