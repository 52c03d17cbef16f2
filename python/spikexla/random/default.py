"""The stream that everybody draws from, and the functions that draw from it."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator

import jax
import numpy as np

from ..switches import Block
from .draw import key_data
from .stream import DefaultStream, RandomState

DEFAULT = DefaultStream("random.DEFAULT")


def seed(seed: int | jax.Array | None = None) -> None:
    """Starts the stream again; an integer also seeds numpy, which host-side helpers draw from.

    >>> seed(0)
    >>> float(rand()) == float((seed(0), rand())[1])
    True
    """
    DEFAULT.seed(seed)
    if seed is not None and not isinstance(seed, jax.Array | np.ndarray):
        np.random.seed(operator.index(seed) % 2**32)


@contextlib.contextmanager
def seed_context(value: int | jax.Array) -> Iterator[None]:
    """Draws from a stream of its own inside the block; the stream outside does not notice.

    The block's stream is for its thread, and under asyncio for its task and those started in it.
    """
    with Block({DEFAULT: DEFAULT.box(key_data(value))}):
        yield


def default_rng(seed: int | jax.Array | None = None) -> RandomState:
    """A new stream from a seed; the default stream itself without one.

    >>> default_rng(3).rand(2).shape
    (2,)
    """
    return DEFAULT if seed is None else RandomState(seed)


get_key = DEFAULT.get_key
set_key = DEFAULT.set_key
split_key = DEFAULT.split_key
split_keys = DEFAULT.split_keys

bernoulli = DEFAULT.bernoulli
beta = DEFAULT.beta
binomial = DEFAULT.binomial
categorical = DEFAULT.categorical
chisquare = DEFAULT.chisquare
choice = DEFAULT.choice
dirichlet = DEFAULT.dirichlet
exponential = DEFAULT.exponential
f = DEFAULT.f
gamma = DEFAULT.gamma
geometric = DEFAULT.geometric
gumbel = DEFAULT.gumbel
laplace = DEFAULT.laplace
loggamma = DEFAULT.loggamma
logistic = DEFAULT.logistic
lognormal = DEFAULT.lognormal
maxwell = DEFAULT.maxwell
multinomial = DEFAULT.multinomial
multivariate_normal = DEFAULT.multivariate_normal
negative_binomial = DEFAULT.negative_binomial
normal = DEFAULT.normal
orthogonal = DEFAULT.orthogonal
pareto = DEFAULT.pareto
permutation = DEFAULT.permutation
poisson = DEFAULT.poisson
power = DEFAULT.power
rand = DEFAULT.rand
rand_like = DEFAULT.rand_like
randint = DEFAULT.randint
randint_like = DEFAULT.randint_like
randn = DEFAULT.randn
randn_like = DEFAULT.randn_like
random = DEFAULT.random
random_integers = DEFAULT.random_integers
rayleigh = DEFAULT.rayleigh
shuffle = DEFAULT.shuffle
standard_cauchy = DEFAULT.standard_cauchy
standard_exponential = DEFAULT.standard_exponential
standard_gamma = DEFAULT.standard_gamma
standard_normal = DEFAULT.standard_normal
standard_t = DEFAULT.standard_t
t = DEFAULT.t
triangular = DEFAULT.triangular
truncated_normal = DEFAULT.truncated_normal
uniform = DEFAULT.uniform
wald = DEFAULT.wald
weibull = DEFAULT.weibull
weibull_min = DEFAULT.weibull_min
