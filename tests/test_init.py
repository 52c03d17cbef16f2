"""Initialisers: shapes, laws, units, the ways to call them."""

from __future__ import annotations

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import ParamState, init

ALL = [
    init.Constant(2.0),
    init.ZeroInit(),
    init.Normal(),
    init.Uniform(),
    init.XavierNormal(),
    init.XavierUniform(),
    init.KaimingNormal(),
    init.KaimingUniform(),
    init.LecunNormal(),
    init.LecunUniform(),
    init.VarianceScaling(1.0, "fan_out", "truncated_normal"),
    init.TruncatedNormal(),
    init.LogNormal(),
    init.Exponential(),
    init.Gamma(2.0),
    init.Beta(2.0, 3.0),
    init.Weibull(2.0),
    init.Orthogonal(),
    init.DeltaOrthogonal(),
    init.Identity(),
    init.Scaled(init.Normal(), 2.0),
    init.Clipped(init.Normal(), -1.0, 1.0),
    init.Mixture([init.Normal(), init.Constant(3.0)], [0.5, 0.5]),
    init.Conditional(lambda k: k % 2 == 0, init.Normal(), init.Constant(0.0)),
]


def shape_for(recipe):
    return (3, 4, 6) if isinstance(recipe, init.DeltaOrthogonal) else (6, 4)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("recipe", ALL, ids=lambda r: type(r).__name__)
def test_every_initialiser(recipe):
    shape = shape_for(recipe)
    sx.random.seed(0)
    a = recipe(shape)
    sx.random.seed(0)
    b = recipe(shape=shape)
    np.testing.assert_array_equal(a, b)
    assert (a.shape, a.dtype) == (shape, jnp.float32)
    assert recipe(list(shape), dtype=jnp.float16).dtype == jnp.float16
    c, d = recipe(shape, key=jax.random.key(0)), recipe(shape, rng=sx.random.RandomState(0))
    np.testing.assert_array_equal(c, recipe(shape, key=jax.random.key(0)))
    key = sx.random.RandomState(0).split_key()
    np.testing.assert_array_equal(d, recipe(shape, key=key))
    compiled = sx.transform.jit(lambda key: recipe(shape, key=key))
    np.testing.assert_array_equal(compiled(jax.random.key(0)), c)
    with pytest.raises(TypeError, match="needs one shape"):
        recipe()
    with pytest.raises(TypeError, match="needs one shape"):
        recipe(3, shape=3)


def test_the_list_here_is_complete():
    kinds = {c for c in vars(init).values() if inspect.isclass(c)} - {init.Initializer}
    assert {type(r) for r in ALL} == kinds


@pytest.mark.sampled(6)
@pytest.mark.parametrize("recipe", ALL, ids=lambda r: type(r).__name__)
def test_units(recipe):
    import brainunit as u

    shape = shape_for(recipe)
    made = dataclasses.replace(recipe, unit=u.mV)(shape, key=jax.random.key(1))
    assert made.unit == u.mV
    np.testing.assert_array_equal(made.mantissa, recipe(shape, key=jax.random.key(1)))


def test_parameters_with_units():
    import brainunit as u

    low, high = -70.0 * u.mV, -60.0 * u.mV
    normal = init.Normal(-65.0 * u.mV, 1.0 * u.mV)
    for recipe in (
        init.Constant(2.0 * u.mV),
        normal,
        init.Uniform(low, high),
        init.TruncatedNormal(-65.0 * u.mV, 5.0 * u.mV, low, high),
        init.LogNormal(2.0 * u.mV, 1.0 * u.mV),
        init.Exponential(2.0 * u.mV),
        init.Gamma(2.0, 2.0 * u.mV),
        init.Beta(2.0, 2.0, low, high),
        init.Weibull(2.0, 2.0 * u.mV),
        init.Scaled(init.Normal(), 2.0 * u.mV),
        init.Clipped(normal, low, -0.064 * u.volt),
        init.Mixture([normal, init.Constant(-0.06 * u.volt)]),
        init.Conditional(lambda k: k > 0, normal, init.Constant(0.0 * u.mV)),
    ):
        assert recipe(5).unit == u.mV
    assert float(init.Clipped(normal, low, -0.064 * u.volt)(99).mantissa.max()) <= -64.0
    same = init.Constant(2.0 * u.volt, unit=u.mV)(2)
    np.testing.assert_allclose(same.mantissa, 2000.0)
    with pytest.raises(TypeError, match="one of the distributions has a unit"):
        init.Mixture([normal, init.Constant(0.0)])(3)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("recipe", "mean", "std"),
    [
        (init.TruncatedNormal(1.0, 2.0), 1.0, 2.0 * 0.8796),
        (init.LogNormal(3.0, 1.5), 3.0, 1.5),
        (init.Exponential(2.0), 2.0, 2.0),
        (init.Gamma(4.0, 0.5), 2.0, 1.0),
        (init.Beta(2.0, 3.0, 1.0, 3.0), 1.8, 0.4),
        (init.Weibull(2.0, 3.0), 3 * np.sqrt(np.pi) / 2, 3 * np.sqrt(1 - np.pi / 4)),
        (init.Mixture([init.Constant(0.0), init.Constant(1.0)], [1.0, 3.0]), 0.75, np.sqrt(3) / 4),
        (init.Scaled(init.Normal(1.0, 1.0), 3.0), 3.0, 3.0),
        (init.Conditional(lambda k: k < 100, init.Constant(2.0), init.Constant(0.0)), 1.0, 1.0),
    ],
)
def test_moments(recipe, mean, std):
    drawn = np.asarray(recipe((200, 200)), np.float64)
    assert abs(drawn.mean() - mean) < 5 * std / 200
    assert abs(drawn.std() / std - 1) < 0.05


def test_mixtures_and_conditions():
    columns = init.Conditional(lambda k: k % 2 == 0, init.Constant(1.0), init.Constant(2.0))((2, 4))
    np.testing.assert_array_equal(columns, [[1, 2, 1, 2]] * 2)
    only = init.Mixture([init.Constant(1.0), init.Constant(2.0)], [0.0, 1.0])(50)
    np.testing.assert_array_equal(only, 2.0)
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="a weight of 0 or more for each of its 2"):
            init.Mixture([init.Normal(), init.Normal()], weights)


def test_convolution_kernels():
    kernel = np.array(init.DeltaOrthogonal(2.0)((3, 3, 2, 4)))
    np.testing.assert_allclose(kernel[1, 1] @ kernel[1, 1].T, 4 * np.eye(2), atol=1e-5)
    kernel[1, 1] = 0.0
    assert not kernel.any()
    drawn = init.KaimingNormal(in_axis=1, out_axis=0)((64, 32, 3, 3))
    assert abs(float(jnp.var(drawn)) / (2 / (32 * 9)) - 1) < 0.05
    with pytest.raises(ValueError, match="of 3 to 5 axes"):
        init.DeltaOrthogonal()((4, 2))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("recipe", "variance"),
    [
        (init.Normal(0.0, 0.5), 0.25),
        (init.Uniform(-1.0, 1.0), 1 / 3),
        (init.XavierNormal(), 2 / (200 + 300)),
        (init.XavierUniform(), 2 / (200 + 300)),
        (init.KaimingNormal(), 2 / 200),
        (init.KaimingUniform(), 2 / 200),
        (init.KaimingNormal(mode="fan_out"), 2 / 300),
        (init.KaimingUniform(nonlinearity="leaky_relu", negative_slope=1.0), 1 / 200),
        (init.KaimingNormal(scale=3.0), 3 / 200),
        (init.LecunNormal(), 1 / 200),
        (init.LecunUniform(2.0), 2 / 200),
        (init.VarianceScaling(2.0, "fan_avg", "uniform"), 2 / 250),
        (init.VarianceScaling(2.0, "fan_out", "truncated_normal"), 2 / 300),
    ],
)
def test_variances(recipe, variance):
    drawn = np.asarray(recipe((200, 300)), np.float64)
    assert abs(drawn.var() / variance - 1) < 0.05
    assert abs(drawn.mean()) < 0.02 * np.sqrt(variance)


def test_vectors_count_their_length():
    assert abs(np.var(init.KaimingNormal()(5000)) / (2 / 5000) - 1) < 0.1
    assert abs(np.var(init.XavierUniform()(5000)) / (1 / 5000) - 1) < 0.1


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 3, 4)])
def test_orthogonal_and_identity(shape):
    q = np.asarray(init.Orthogonal(2.0)(shape)).reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
    eye = init.Identity(3.0)(shape)
    np.testing.assert_array_equal(eye[(0,) * (len(shape) - 2)], 3 * np.eye(*shape[-2:]))


def test_vectors_in_every_mode():
    for mode in ("fan_in", "fan_out", "fan_avg"):
        assert abs(np.var(init.VarianceScaling(1.0, mode)(5000)) * 5000 - 1) < 0.1
    with pytest.raises(ValueError, match="mode must be one of fan_in"):
        init.VarianceScaling(mode="in")
    with pytest.raises(ValueError, match="distribution must be one of"):
        init.VarianceScaling(distribution="cauchy")
    with pytest.raises(ValueError, match="nonlinearity must be"):
        init.KaimingNormal(nonlinearity="tanh")


def test_bad_shapes():
    with pytest.raises(ValueError, match="Orthogonal needs a shape of two axes"):
        init.Orthogonal()(3)
    with pytest.raises(ValueError, match="Identity needs"):
        init.Identity()(3)
    with pytest.raises(ValueError, match="one axis or more"):
        init.XavierNormal()(())


def test_param():
    import brainunit as u

    assert init.param(None, 3) is None
    assert init.param(2.0, 3) == 2.0
    assert init.param(init.Uniform(), 3, batch_size=2).shape == (2, 3)
    assert init.param(lambda shape: jnp.zeros(shape), (2, 3)).shape == (2, 3)
    assert init.param(np.ones(3, np.float32), 3, batch_size=(4, 2)).shape == (4, 2, 3)
    assert init.param(jnp.ones(3) * u.mV, 3, batch_size=2).unit == u.mV
    assert init.param(jnp.ones((2, 1)), (2, 3)).shape == (2, 1)
    assert init.param([1.0, 2.0, 3.0], 3, batch_size=2).shape == (2, 3)
    state = ParamState(jnp.ones(3))
    assert init.param(state, 3) is state
    for bad, what in [
        (lambda: init.param(jnp.ones(4), 3), r"shape \(4,\), which does not fit \(3,\)"),
        (lambda: init.param(jnp.ones((2, 3)), 3), "does not fit"),
        (lambda: init.param([1.0, 2.0], 3), "does not fit"),
        (lambda: init.param(lambda shape: jnp.zeros(2), 3), r"made shape \(2,\)"),
        (lambda: init.param(None, 3, allow_none=False), "must be given"),
        (lambda: init.param(1.0, 3, allow_scalar=False), "must be an array"),
    ]:
        with pytest.raises(ValueError, match=what):
            bad()
