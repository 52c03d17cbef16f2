"""Optimisers refuse what cannot be right, and harm nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spikexla as sx
from optim_cases import drive, start
from spikexla import LongTermState, ParamState, ShortTermState, State, optim
from spikexla.transform import jit


@pytest.mark.parametrize("policy", ["apply", "skip", "raise"])
def test_gradients_that_are_not_finite(policy):
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(2))
    optimizer = optim.Adam(0.1, nonfinite=policy).register_trainable_weights({"a": a, "b": b})
    bad = {"a": jnp.asarray([jnp.nan, 1.0]), "b": jnp.ones(2)}
    if policy == "raise":
        with pytest.raises(FloatingPointError, match="the gradient of 'a' is not finite"):
            optimizer.update(bad)
        with pytest.raises(ValueError, match="cannot raise from compiled code"):
            jit(lambda: optimizer.update(bad))()
    else:
        optimizer.update(bad)
        jit(lambda: optimizer.update(bad))()
    if policy == "apply":
        assert jnp.isnan(a.value[0])
        assert int(optimizer.step_count.value) == 2
    else:
        np.testing.assert_array_equal(a.value, np.ones(2))
        assert int(optimizer.step_count.value) == 0
        assert int(optimizer.skipped.value) == (2 if policy == "skip" else 1)
        optimizer.update({"a": jnp.ones(2), "b": jnp.ones(2)})
        np.testing.assert_allclose(a.value, 0.9, rtol=1e-5)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_transform_of_jax_itself_is_refused_and_harms_nothing(transform):
    w = ParamState(jnp.zeros(()))
    optimizer = optim.Adam(0.1).register_trainable_weights({"w": w})
    optimizer.update({"w": jnp.ones(())})
    with pytest.raises(sx.TraceError, match="a transform of jax itself"):
        transform(lambda g: optimizer.update({"w": g.sum()}))(jnp.ones((2, 3)))
    optimizer.update({"w": jnp.ones(())})
    assert int(optimizer.step_count.value) == 2
    assert float(w.value) == pytest.approx(-0.2, rel=1e-4)


@pytest.mark.parametrize(
    ("act", "error", "what"),
    [
        (lambda o, g: o.update({"w": g["w"]}), KeyError, "no gradient for 'b'; give zeros"),
        (lambda o, g: o.update({}), KeyError, "no gradient for 'w', 'b'"),
        (lambda o, g: o.update({**g, "c": g["b"]}), KeyError, "'c', which is not registered"),
        (lambda o, g: o.update({**g, ("w",): g["w"]}), ValueError, "two gradients for 'w'"),
        (lambda o, g: o.update({**g, "w": g["b"]}), ValueError, r"shape \(2,\), but .*\(2, 3\)"),
        (lambda o, g: o.update({**g, "w": None}), ValueError, "gradient of 'w' is None"),
        (lambda o, g: o.update({**g, "w": {"x": g["w"]}}), ValueError, "structure of the value"),
        (lambda o, g: optim.SGD().update(g), ValueError, "call register_trainable_weights first"),
        (lambda o, g: setattr(o, "lr", -1.0), ValueError, "learning rate must be .* got -1.0"),
        (lambda o, g: o.register_trainable_weights({"x": ParamState(jnp.ones(1))}), ValueError,
         "already trains w, b; add more with add_param_group"),
    ],
)  # fmt: skip
def test_errors_of_a_step(act, error, what):
    optimizer = optim.SGD(0.1).register_trainable_weights(start())
    with pytest.raises(error, match=what):
        act(optimizer, drive(0))
    np.testing.assert_array_equal(optimizer.params["b"].value, np.ones(2))


@pytest.mark.parametrize(
    ("params", "error", "what"),
    [
        ({"v": ShortTermState(jnp.ones(1))}, TypeError, "'v' is not trained: only a ParamState"),
        ({"v": LongTermState(jnp.ones(1))}, TypeError, "is not trained"),
        ({"v": State(jnp.ones(1))}, TypeError, "is not trained"),
        ({"v": jnp.ones(1)}, TypeError, "parameters are States, .* at 'v'"),
        ({"v": ParamState(jnp.ones(1, jnp.int32))}, TypeError, "int32 and cannot be trained"),
        ({}, ValueError, "no parameters to train"),
    ],
)
def test_what_cannot_be_registered(params, error, what):
    with pytest.raises(error, match=what):
        optim.SGD().register_trainable_weights(params)


def test_shared_parameters_are_registered_once():
    w = ParamState(jnp.ones(1))
    with pytest.raises(ValueError, match="is registered as 'a' and as 'b'"):
        optim.SGD().register_trainable_weights({"a": w, "b": w})


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: optim.Adam(-1.0), ValueError, "the learning rate must be a finite number"),
        (lambda: optim.Adam(lr=0.1, learning_rate=0.1), TypeError, "two names of one thing"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), ValueError, "betas are two numbers from 0"),
        (lambda: optim.SGD(weight_decay=-1), ValueError, "weight_decay must be"),
        (lambda: optim.SGD(grad_clip_norm=0.0), ValueError, "grad_clip_norm must be"),
        (lambda: optim.SGD(nonfinite="ignore"), ValueError, "nonfinite must be one of 'apply'"),
        (lambda: optim.OptaxOptimizer(optax.sgd(1.0), lr=0.1), TypeError, "rate inside"),
        (lambda: optim.OptaxOptimizer("sgd"), TypeError, "tx must be a transformation of optax"),
        (lambda: optim.Optimizer(0.1, "sgd", {}), TypeError, "abstract"),
    ],
)
def test_bad_settings(make, error, what):
    with pytest.raises(error, match=what):
        make()
