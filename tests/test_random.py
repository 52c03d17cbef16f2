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
from spikexla.transform import jit

DRAWS = {
    "rand": lambda **k: random.rand(4, 3, **k),
    "randn": lambda **k: random.randn(4, 3, **k),
    "uniform": lambda **k: random.uniform(-1.0, 2.0, (4, 3), **k),
    "normal": lambda **k: random.normal(1.0, 2.0, (4, 3), **k),
    "exponential": lambda **k: random.exponential(2.0, (4, 3), **k),
    "randint": lambda **k: random.randint(0, 10, (4, 3), **k),
    "bernoulli": lambda **k: random.bernoulli(0.3, (4, 3), **k),
    "poisson": lambda **k: random.poisson(3.0, (4, 3), **k),
    "choice": lambda **k: random.choice(10, (4, 3), **k),
    "permutation": lambda **k: random.permutation(12, **k).reshape(4, 3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_compiled_draws_are_the_same_numbers(name):
    draw = DRAWS[name]
    random.seed(5)
    eager = [draw(), draw()]
    random.seed(5)
    compiled = jit(lambda: [draw(), draw()])()
    random.seed(5)
    one_by_one = jit(draw)
    again = [one_by_one(), one_by_one()]
    for a, b, c in zip(eager, compiled, again, strict=True):
        assert a.shape == (4, 3)
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not np.array_equal(eager[0], eager[1])


@pytest.mark.parametrize("name", DRAWS)
def test_a_key_leaves_the_stream_alone(name):
    before = DEFAULT.value
    for key in (jax.random.key(1), jax.random.PRNGKey(1)):
        a, b = DRAWS[name](key=key), DRAWS[name](key=key)
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(before, DEFAULT.value)


@pytest.mark.parametrize(
    ("draw", "mean", "variance"),
    [
        (lambda n: random.uniform(2.0, 4.0, n), 3.0, 1 / 3),
        (lambda n: random.normal(1.0, 2.0, n), 1.0, 4.0),
        (lambda n: random.exponential(2.0, n), 2.0, 4.0),
        (lambda n: random.randint(0, 10, n), 4.5, 8.25),
        (lambda n: random.bernoulli(0.3, n), 0.3, 0.21),
        (lambda n: random.poisson(3.0, n), 3.0, 3.0),
        (
            lambda n: random.choice(jnp.asarray([0.0, 1.0]), n, p=jnp.asarray([0.25, 0.75])),
            0.75,
            0.1875,
        ),
    ],
)
def test_laws(draw, mean, variance):
    n = 40_000
    drawn = np.asarray(draw(n), np.float64)
    assert abs(drawn.mean() - mean) < 5 * np.sqrt(variance / n)
    assert abs(drawn.var() - variance) < 0.1 * variance


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


def test_parameters_may_be_quantities():
    import brainunit as u

    drawn = random.normal(-65.0 * u.mV, 0.005 * u.volt, 1000)
    assert abs(float(drawn.to_decimal(u.mV).mean()) + 65) < 1
    assert random.choice(jnp.arange(3) * u.ms, 2).unit == u.ms
    assert random.permutation(jnp.arange(3) * u.ms).unit == u.ms
    with pytest.raises(TypeError, match="units of one dimension"):
        random.uniform(0.0, 1.0 * u.mV)


def test_bad_values():
    with pytest.raises(ValueError, match=r"probabilities between 0 and 1, got 1\.5"):
        random.bernoulli(1.5)
    with pytest.raises(TypeError, match="a seed is an integer or a jax random key, got 'x'"):
        random.seed("x")


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
