"""Random draws: the same numbers compiled or not, the right laws, the right errors."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import random
from spikexla.random import DEFAULT, RandomState
from spikexla.transform import for_loop, jit, vmap

P = jnp.asarray([0.5, 0.2, 0.3])
COV = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
# Each law with its parameters, and the mean and variance of (a function of) its numbers.
LAWS = {
    "rand": (lambda n, **k: random.rand(*n, **k), 0.5, 1 / 12),
    "random": (lambda n, **k: random.random(n, **k), 0.5, 1 / 12),
    "rand_like": (lambda n, **k: random.rand_like(jnp.zeros(n), **k), 0.5, 1 / 12),
    "randn": (lambda n, **k: random.randn(*n, **k), 0.0, 1.0),
    "randn_like": (lambda n, **k: random.randn_like(jnp.zeros(n), **k), 0.0, 1.0),
    "uniform": (lambda n, **k: random.uniform(-1.0, 2.0, n, **k), 0.5, 0.75),
    "normal": (lambda n, **k: random.normal(1.0, 2.0, n, **k), 1.0, 4.0),
    "standard_normal": (lambda n, **k: random.standard_normal(n, **k), 0.0, 1.0),
    "truncated_normal": (
        lambda n, **k: random.truncated_normal(0.0, 4.0, n, loc=0.0, scale=2.0, **k),
        1.4473, 0.9408,
    ),
    "lognormal": (
        lambda n, **k: random.lognormal(0.1, 0.3, n, **k),
        np.exp(0.145), np.expm1(0.09) * np.exp(0.29),
    ),
    "multivariate_normal": (
        lambda n, **k: random.multivariate_normal(jnp.ones(2), COV, n, **k).sum(-1), 2.0, 4.0,
    ),
    "exponential": (lambda n, **k: random.exponential(2.0, n, **k), 2.0, 4.0),
    "standard_exponential": (lambda n, **k: random.standard_exponential(n, **k), 1.0, 1.0),
    "gamma": (lambda n, **k: random.gamma(3.0, 2.0, n, **k), 6.0, 12.0),
    "standard_gamma": (lambda n, **k: random.standard_gamma(3.0, n, **k), 3.0, 3.0),
    "loggamma": (lambda n, **k: random.loggamma(3.0, n, **k), 0.92278, 0.39493),
    "beta": (lambda n, **k: random.beta(2.0, 3.0, n, **k), 0.4, 0.04),
    "dirichlet": (
        lambda n, **k: random.dirichlet(jnp.asarray([2.0, 3.0]), n, **k)[..., 0], 0.4, 0.04,
    ),
    "chisquare": (lambda n, **k: random.chisquare(3.0, n, **k), 3.0, 6.0),
    "f": (
        lambda n, **k: random.f(4.0, 12.0, n, **k), 1.2, 2 * 144 * 14 / (4 * 100 * 8),
    ),
    "t": (lambda n, **k: random.t(10.0, n, **k), 0.0, 1.25),
    "standard_t": (lambda n, **k: random.standard_t(10.0, n, **k), 0.0, 1.25),
    "standard_cauchy": (
        lambda n, **k: jnp.arctan(random.standard_cauchy(n, **k)), 0.0, np.pi**2 / 12,
    ),
    "gumbel": (
        lambda n, **k: random.gumbel(1.0, 2.0, n, **k), 1 + 2 * 0.57722, 4 * np.pi**2 / 6,
    ),
    "laplace": (lambda n, **k: random.laplace(1.0, 2.0, n, **k), 1.0, 8.0),
    "logistic": (lambda n, **k: random.logistic(1.0, 2.0, n, **k), 1.0, 4 * np.pi**2 / 3),
    "maxwell": (lambda n, **k: random.maxwell(n, **k), np.sqrt(8 / np.pi), 3 - 8 / np.pi),
    "pareto": (lambda n, **k: random.pareto(9.0, n, **k), 1 / 8, 9 / (64 * 7)),
    "power": (lambda n, **k: random.power(3.0, n, **k), 0.75, 3 / 80),
    "rayleigh": (
        lambda n, **k: random.rayleigh(2.0, n, **k), 2 * np.sqrt(np.pi / 2), (4 - np.pi) * 2,
    ),
    "triangular": (
        lambda n, **k: random.triangular(1.0, 2.0, 4.0, n, **k), 7 / 3, 7 / 18,
    ),
    "wald": (lambda n, **k: random.wald(2.0, 4.0, n, **k), 2.0, 2.0),
    "weibull": (lambda n, **k: random.weibull(2.0, n, **k), np.sqrt(np.pi) / 2, 1 - np.pi / 4),
    "weibull_min": (
        lambda n, **k: random.weibull_min(2.0, 3.0, n, **k),
        3 * np.sqrt(np.pi) / 2, 9 * (1 - np.pi / 4),
    ),
    "orthogonal": (lambda n, **k: random.orthogonal(2, n, **k)[..., 0, 0], 0.0, 0.5),
    "randint": (lambda n, **k: random.randint(0, 10, n, **k), 4.5, 8.25),
    "random_integers": (lambda n, **k: random.random_integers(0, 9, n, **k), 4.5, 8.25),
    "randint_like": (
        lambda n, **k: random.randint_like(jnp.zeros(n, int), 0, 10, **k), 4.5, 8.25,
    ),
    "bernoulli": (lambda n, **k: random.bernoulli(0.3, n, **k), 0.3, 0.21),
    "binomial": (lambda n, **k: random.binomial(10, 0.3, n, **k), 3.0, 2.1),
    "negative_binomial": (lambda n, **k: random.negative_binomial(5, 0.5, n, **k), 5.0, 10.0),
    "geometric": (lambda n, **k: random.geometric(0.25, n, **k), 4.0, 12.0),
    "poisson": (lambda n, **k: random.poisson(3.0, n, **k), 3.0, 3.0),
    "multinomial": (
        lambda n, **k: random.multinomial(10, P, n, **k)[..., 0], 5.0, 2.5,
    ),
    "categorical": (lambda n, **k: random.categorical(jnp.log(P), size=n, **k), 0.8, 0.76),
    "choice": (lambda n, **k: random.choice(3, n, p=P, **k), 0.8, 0.76),
    "permutation": (
        lambda n, **k: random.permutation(int(np.prod(n)), **k).reshape(n) / np.prod(n),
        0.5, 1 / 12,
    ),
    "shuffle": (
        lambda n, **k: random.shuffle(jnp.arange(np.prod(n)), **k).reshape(n) / np.prod(n),
        0.5, 1 / 12,
    ),
}  # fmt: skip


def test_the_list_here_is_complete():
    public = {name for name in vars(random) if not name.startswith("_")}
    modules = {"continuous", "default", "discrete", "draw", "lanes", "stream"}
    keys = {"DEFAULT", "RandomState", "default_rng", "seed", "seed_context"}
    keys |= {"get_key", "set_key", "split_key", "split_keys"}
    assert public - modules - keys == set(LAWS)


N = (20_000,)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("name", LAWS)
def test_laws(name):
    draw, mean, variance = LAWS[name]
    drawn = np.asarray(draw(N), np.float64)
    assert abs(drawn.mean() - mean) < 5 * np.sqrt(variance / N[0])
    assert abs(drawn.var() - variance) < 0.12 * variance


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", LAWS)
def test_compiled_draws_are_the_same_numbers(name):
    draw = LAWS[name][0]
    random.seed(5)
    eager = [draw(N), draw(N)]
    random.seed(5)
    compiled = jit(lambda: [draw(N), draw(N)])()
    for a, b in zip(eager, compiled, strict=True):
        assert a.shape == N
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(eager[0], eager[1])


LANES = ["normal", "uniform", "truncated_normal", "gamma", "f", "orthogonal", "categorical"]
LANES += ["poisson", "binomial", "bernoulli", "choice", "permutation"]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", LANES)
def test_each_lane_draws_its_own_numbers(name):
    draw = LAWS[name][0]
    random.seed(5)
    lanes = vmap(lambda x: draw(N))(jnp.zeros(2))
    random.seed(5)
    for lane, key in zip(lanes, random.split_key(2), strict=True):
        with random.seed_context(key):
            np.testing.assert_array_equal(lane, draw(N))
    assert not np.array_equal(lanes[0], lanes[1])


@pytest.mark.parametrize("name", ["normal", "randint", "permutation", "categorical"])
def test_a_loop_draws_the_same_numbers(name):
    draw = LAWS[name][0]
    random.seed(5)
    eager = [draw((4, 3)) for _ in range(3)]
    random.seed(5)
    looped = jit(lambda: for_loop(lambda: draw((4, 3)), length=3))()
    np.testing.assert_array_equal(looped, np.stack(eager))


@pytest.mark.parametrize("name", ["rand", "normal", "poisson", "bernoulli", "choice", "randint"])
def test_a_key_leaves_the_stream_alone(name):
    draw, before = LAWS[name][0], DEFAULT.value
    drawn = [draw((4, 3), key=k) for k in (1, jax.random.key(1), jax.random.PRNGKey(1))]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    np.testing.assert_array_equal(before, DEFAULT.value)


@pytest.mark.parametrize("name", LAWS)
def test_a_stream_of_ones_own_has_every_law(name):
    stream = random.default_rng(7)
    assert isinstance(stream, RandomState)
    assert callable(getattr(stream, name))
    random.seed(7)
    np.testing.assert_array_equal(stream.rand(3), random.rand(3))


def test_the_chain_is_that_of_split():
    random.seed(7)
    keys = jax.random.split(jax.random.key(7))
    np.testing.assert_array_equal(random.rand(3), jax.random.uniform(keys[1], (3,)))
    assert random.split_key() == jax.random.split(keys[0])[1]


def test_sizes():
    assert random.uniform().shape == ()
    assert random.uniform(size=3).shape == random.uniform(size=[3]).shape == (3,)
    assert random.uniform(jnp.zeros((2, 1)), jnp.ones(3)).shape == (2, 3)
    assert random.rand().shape == ()
    assert random.rand(0, 2).shape == (0, 2)
    assert random.randint(5, size=3).dtype == jnp.int32
    with pytest.raises(TypeError, match="size must be an int or a tuple of ints, got"):
        random.rand(1.5)
    with pytest.raises(ValueError, match="size must not be negative"):
        random.normal(size=-1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtypes(dtype):
    if dtype == jnp.float64:
        jax.config.update("jax_enable_x64", True)
    for draw in (random.normal, random.uniform, random.exponential):
        assert draw(size=2, dtype=dtype).dtype == dtype
    assert random.gamma(2.0, size=2, dtype=dtype).dtype == dtype
    assert random.randn_like(jnp.zeros(2, dtype)).dtype == dtype


def test_the_precision_of_the_environment():
    with sx.environ.context(precision=64):
        assert random.rand(2).dtype == jnp.float64
        assert random.randint(5, size=2).dtype == random.binomial(3, 0.5, 2).dtype == jnp.int64
    with sx.environ.context(precision="bf16"):
        assert random.rand(2).dtype == jnp.bfloat16


def test_bounds_are_kept():
    drawn = random.truncated_normal(-1.0, 0.1, 10_000, loc=3.0, scale=0.5)
    assert float(drawn.min()) >= -1.0
    assert float(drawn.max()) <= np.float32(0.1)
    assert set(np.unique(random.random_integers(3, size=200))) == {1, 2, 3}
    assert int(random.geometric(0.99, 1000).min()) == 1


def test_orders():
    x = jnp.arange(12).reshape(3, 4)
    rows = random.permutation(x)
    np.testing.assert_array_equal(np.sort(rows[:, 0]), x[:, 0])
    np.testing.assert_array_equal(rows[:, 1], rows[:, 0] + 1)
    columns = random.permutation(x, axis=1, independent=True)
    np.testing.assert_array_equal(np.sort(columns, axis=1), x)
    assert len({tuple(np.asarray(row) % 4) for row in columns}) > 1
    np.testing.assert_array_equal(np.sort(random.choice(5, 5, replace=False)), np.arange(5))
    assert random.choice(x, 2).shape == (2, 4)
    assert random.choice(5).shape == ()


def test_parameters_may_be_quantities():
    import brainunit as u

    drawn = random.normal(-65.0 * u.mV, 0.005 * u.volt, 1000)
    assert abs(float(drawn.to_decimal(u.mV).mean()) + 65) < 1
    assert random.normal(scale=2.0 * u.mV, size=3).unit == u.mV
    assert random.uniform(high=2.0 * u.mV, size=3).unit == u.mV
    assert random.gamma(2.0, 3.0 * u.ms, size=3).unit == u.ms
    bounded = random.truncated_normal(-70 * u.mV, -60 * u.mV, 9, -65 * u.mV, 5 * u.mV)
    assert bounded.unit == u.mV
    assert float(bounded.mantissa.max()) <= -60.0
    assert random.choice(jnp.arange(3) * u.ms, 2).unit == u.ms
    assert random.permutation(jnp.arange(3) * u.ms).unit == u.ms
    assert random.shuffle(jnp.arange(3) * u.ms).shape == (3,)
    for wrong in (
        lambda: random.uniform(0.0, 1.0 * u.mV),
        lambda: random.normal(-65.0 * u.mV),
        lambda: random.normal(1.0 * u.mV, 1.0 * u.ms),
    ):
        with pytest.raises(TypeError, match="units of one dimension"):
            wrong()
    for wrong in (
        lambda: random.poisson(3.0 * u.mV),
        lambda: random.gamma(2.0 * u.mV),
        lambda: random.beta(1.0, 2.0 * u.mV),
        lambda: random.bernoulli(0.5 * u.mV),
    ):
        with pytest.raises(TypeError, match="has a unit where a random law takes a plain number"):
            wrong()


@pytest.mark.parametrize(
    ("draw", "error", "what"),
    [
        (lambda: random.bernoulli(1.5), ValueError, r"probabilities between 0 and 1, got 1\.5"),
        (lambda: random.binomial(3, -0.1), ValueError, "binomial takes probabilities"),
        (lambda: random.seed("x"), TypeError, "a seed is an integer or a jax random key, got 'x'"),
        (lambda: random.rand(2, key=jnp.zeros(3)), TypeError, "a raw key is two unsigned"),
        (lambda: random.rand(2, key=jax.random.split(jax.random.key(0))), TypeError, "one key of"),
        (lambda: random.rand(2, key=jax.random.key(0, impl="rbg")), TypeError, "one key of"),
        (lambda: random.choice(3, 4, replace=False), ValueError, "choice of 4 out of 3"),
        (lambda: random.choice(0), ValueError, "nothing to draw from in 0"),
        (lambda: random.permutation(jnp.ones(())), ValueError, "nothing to draw from"),
    ],
)
def test_bad_values(draw, error, what):
    with pytest.raises(error, match=what):
        draw()


def test_keys_of_the_stream():
    random.seed(3)
    key = random.get_key()
    a = random.rand(2)
    random.set_key(key)
    np.testing.assert_array_equal(random.rand(2), a)
    assert random.split_keys(3).shape == (3,)
    random.seed()
    assert not np.array_equal(random.rand(2), a)
    assert random.default_rng() is DEFAULT
    stream = RandomState(1)
    assert not np.array_equal(stream.clone().rand(4), stream.rand(4))
    assert not np.array_equal(RandomState().rand(4), RandomState().rand(4))


def test_a_new_value_of_a_parameter_compiles_nothing():
    random.normal(0.0, 1.0, 7)
    from spikexla.random.draw import _advance

    before = _advance._cache_size()
    random.normal(1.0, 3.0, 7)
    random.normal(5.0, 2.0, 7)
    assert _advance._cache_size() == before


def test_seed_context_is_not_noticed_outside():
    random.seed(1)
    expected = random.rand()
    random.seed(1)
    with random.seed_context(9):
        random.rand(5)
    assert float(random.rand()) == float(expected)
    random.seed(0)
    assert int(np.random.randint(2**31)) == int(np.random.RandomState(0).randint(2**31))


def test_streams_of_ones_own():
    stream = RandomState(3)
    twin = pickle.loads(pickle.dumps(stream))
    assert bool((stream.split_key(3) == twin.split_key(3)).all())
    before = DEFAULT.value
    random.rand(key=stream.split_key())
    np.testing.assert_array_equal(before, DEFAULT.value)
    assert DEFAULT.value.dtype == np.uint32
    assert isinstance(sx.random.DEFAULT, sx.State)
