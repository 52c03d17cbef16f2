"""Initialisers: shapes, laws, units, the ways to call them."""

from __future__ import annotations

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
    init.Orthogonal(),
    init.Identity(),
]


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: type(r).__name__)
def test_every_initialiser(recipe):
    sx.random.seed(0)
    a = recipe((6, 4))
    sx.random.seed(0)
    b = recipe(shape=(6, 4))
    np.testing.assert_array_equal(a, b)
    assert (a.shape, a.dtype) == ((6, 4), jnp.float32)
    assert recipe([6, 4], dtype=jnp.float16).dtype == jnp.float16
    c, d = recipe((6, 4), key=jax.random.key(0)), recipe((6, 4), key=jax.random.key(0))
    np.testing.assert_array_equal(c, d)
    np.testing.assert_array_equal(
        sx.transform.jit(lambda: recipe((6, 4), key=jax.random.key(0)))(), c
    )
    with pytest.raises(TypeError, match="needs one shape"):
        recipe()
    with pytest.raises(TypeError, match="needs one shape"):
        recipe(3, shape=3)


def test_the_list_here_is_complete():
    kinds = {c for c in vars(init).values() if inspect.isclass(c)} - {init.Initializer}
    assert {type(r) for r in ALL} == kinds


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: type(r).__name__)
def test_units(recipe):
    import brainunit as u

    with_unit = (
        type(recipe)(2.0, unit=u.mV)
        if isinstance(recipe, init.Constant)
        else type(recipe)(unit=u.mV)
    )
    assert with_unit((3, 3)).unit == u.mV
    assert init.Constant(2.0 * u.mV)(3).unit == u.mV
    assert init.Normal(-65.0 * u.mV, 1.0 * u.mV)(3).unit == u.mV


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
