"""Optimisers: any keys, units, groups and learning rates, compiled or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spikexla as sx
from optim_cases import Layer
from spikexla import ParamState, State, nn, optim
from spikexla.transform import grad, jit, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [Layer(), Layer()]


def ones(net):
    return {key: jnp.ones_like(state.value) for key, state in net.states(ParamState).items()}


@pytest.mark.parametrize(
    "spell",
    [
        lambda g: g,
        lambda g: sx.StateDict(g),
        lambda g: {str(key): x for key, x in g.items()},
        lambda g: {
            "layers": [{"W": g["layers", k, "W"], "b": g["layers", k, "b"]} for k in (0, 1)]
        },
        lambda g: {key: np.asarray(x) for key, x in g.items()},
    ],
    ids=["tuples", "StateDict", "dotted", "nested", "numpy"],
)
def test_gradients_by_any_spelling_of_the_keys(spell):
    net = Net()
    optimizer = optim.SGD(0.5).register_trainable_weights(net.states(ParamState))
    optimizer.update(spell(ones(net)))
    np.testing.assert_array_equal(net.layers[0].W.value, 0.5 * np.ones((3, 2)))
    np.testing.assert_array_equal(net.layers[1].b.value, -0.5 * np.ones(2))


def test_registered_trees():
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(3))
    optim.SGD(1.0).register_trainable_weights(a).update(jnp.ones(2))
    optim.SGD(1.0).register_trainable_weights([a, {"x": b}]).update(
        [jnp.ones(2), {"x": jnp.ones(3)}]
    )
    np.testing.assert_array_equal(a.value, -np.ones(2))
    np.testing.assert_array_equal(b.value, np.zeros(3))


def test_the_guide():
    """Blocks 14 and 15 of the guide: any loss, a fresh transform at each step."""

    def loss_fn(params, net, X, y):
        return jnp.mean((net(X) - y) ** 2)

    net, X, y = Layer(), jnp.ones((4, 3)), jnp.zeros((4, 2))
    params = net.states(ParamState)
    optimizer = optim.Adam(learning_rate=1e-1)
    optimizer.register_trainable_weights(params)
    losses = []
    for _ in range(20):
        grads = grad(loss_fn, params, return_value=False)(net, X, y)
        optimizer.update(grads)
        losses.append(float(loss_fn(params, net, X, y)))
    assert losses[-1] < 0.1 * losses[0]
    (programs,) = optimizer.__dict__["_compiled"]._programs.values()
    assert len(programs) == 1


def test_a_training_step_in_jit_loops_and_lanes():
    def fresh():
        net = Layer()
        net.W.value = 0.1 * jnp.arange(6.0).reshape(3, 2)
        optimizer = optim.Adam(0.1).register_trainable_weights(net.states(ParamState))

        def step(x):
            grads = grad(lambda x: (net(x) ** 2).sum(), net.states(ParamState))(x)
            optimizer.update(grads)

        return net, optimizer, step

    xs = jnp.stack([jnp.arange(3.0) + k for k in range(4)])
    net, optimizer, step = fresh()
    for x in xs:
        step(x)
    expected = np.asarray(net.W.value)
    for run in (
        lambda step: [jit(step)(x) for x in xs],
        lambda step: sx.transform.for_loop(step, xs),
        lambda step: jit(lambda: sx.transform.for_loop(step, xs))(),
    ):
        net, optimizer, step = fresh()
        run(step)
        np.testing.assert_allclose(net.W.value, expected, rtol=1e-5, atol=1e-7)
        assert int(optimizer.step_count.value) == 4

    net, optimizer, step = fresh()
    everything = {**net.states(ParamState), **optimizer.states(optim.OptimState)}
    ensemble = [s for s in everything.values() if not isinstance(s.value, float)]
    for state in ensemble:
        state.value = jax.tree.map(lambda x: jnp.stack([x, x]), state.value)
    for x in xs:
        vmap(step, in_states=ensemble)(jnp.stack([x, x]))
    np.testing.assert_allclose(net.W.value, np.stack([expected] * 2), rtol=1e-5, atol=1e-7)


def test_a_learning_rate_may_change_without_compiling():
    w = ParamState(jnp.zeros(()))
    optimizer = optim.SGD(learning_rate=1.0).register_trainable_weights({"w": w})
    for k, rate in enumerate((1.0, 0.5, np.float32(0.25), jnp.asarray(0.125))):
        (setattr(optimizer, ("lr", "learning_rate", "current_lr")[k % 3], rate))
        optimizer.update({"w": jnp.ones(())})
        assert float(optimizer.lr) == float(optimizer.learning_rate) == float(rate)
    assert float(w.value) == -1.875
    (programs,) = optimizer.__dict__["_compiled"]._programs.values()
    assert [p.run._cache_size() for p in programs] == [1]

    @jit
    def train():
        optimizer.lr = optimizer.lr / 2
        optimizer.update({"w": jnp.ones(())})

    train()
    assert float(w.value) == -1.875 - 0.0625


def test_a_learning_rate_inside_of_a_transformation():
    w = ParamState(jnp.zeros(()))
    optimizer = optim.OptaxOptimizer(optax.sgd(0.5)).register_trainable_weights({"w": w})
    optimizer.update({"w": jnp.ones(())})
    assert (float(w.value), optimizer.lr) == (-0.5, None)
    with pytest.raises(ValueError, match=r"cannot be set to 0\.1"):
        optimizer.lr = 0.1


def test_parameter_groups():
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(2))
    optimizer = optim.SGD(0.1).register_trainable_weights({"a": a})
    group = optimizer.add_param_group({"b": b}, lr=0.5, weight_decay=0.1)
    assert optimizer.param_groups[1] is group
    optimizer.update({"a": jnp.ones(2), "b": jnp.zeros(2)})
    np.testing.assert_allclose(a.value, 0.9)
    np.testing.assert_allclose(b.value, 0.95)
    group["lr"], group.weight_decay = 1.0, 0.0
    optimizer.update({"b": jnp.ones(2)})  # the other group is left alone
    np.testing.assert_allclose(a.value, 0.9)
    np.testing.assert_allclose(b.value, -0.05, rtol=1e-5)
    assert group["lr"] == 1.0
    with pytest.raises(KeyError, match="'lr' and 'weight_decay' to set, not 'momentum'"):
        group["momentum"] = 1.0
    with pytest.raises(ValueError, match="in a parameter group already"):
        optimizer.add_param_group({"c": a})


def test_a_group_without_a_rate_follows_the_first():
    a, b = ParamState(jnp.zeros(())), ParamState(jnp.zeros(()))
    optimizer = optim.SGD(1.0).register_trainable_weights({"a": a})
    optimizer.add_param_group({"b": b})
    optimizer.lr = 0.5
    optimizer.update({"a": jnp.ones(()), "b": jnp.ones(())})
    assert float(a.value) == float(b.value) == -0.5


def test_quantities_keep_their_unit():
    import brainunit as u

    w = ParamState(jnp.ones(2) * 10 * u.mV)
    both = ParamState({"weight": jnp.ones((2, 2)), "bias": jnp.ones(2) * u.mA})
    params = {"w": w, "both": both}
    optimizer = optim.SGD(0.5).register_trainable_weights(params)
    grads = grad(lambda: (w.value.mantissa**2).sum() + both.value["bias"].mantissa.sum(), params)()
    optimizer.update(grads)
    assert w.value.unit == u.mV
    assert both.value["bias"].unit == u.mA
    np.testing.assert_allclose(w.value.mantissa, 0.0)
    np.testing.assert_allclose(both.value["bias"].mantissa, 0.5)
    for g, unit in (
        (jnp.ones(2), None), (jnp.ones(2) * 1e-3, u.volt), (jnp.ones(2) * 1e3, u.volt**-1),
    ):  # fmt: skip
        w.value = jnp.ones(2) * u.mV
        g = g if unit is None else u.Quantity(g, unit=unit)
        optim.SGD(0.5).register_trainable_weights({"w": w}).update({"w": g})
        np.testing.assert_allclose(w.value.mantissa, 0.5, rtol=1e-6)
    with pytest.raises(TypeError, match="the gradient of 'w' is in"):
        optim.SGD(0.5).register_trainable_weights({"w": w}).update({"w": jnp.ones(2) * u.second})


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64, jnp.complex64])
def test_a_parameter_keeps_its_dtype(dtype):
    if dtype == jnp.float64:
        jax.config.update("jax_enable_x64", True)
    w = ParamState(jnp.ones(3, dtype))
    for rate in (0.5, optim.ExponentialLR(0.5, 1.0)):
        optimizer = optim.RMSprop(rate, momentum=0.9).register_trainable_weights({"w": w})
        before = jax.tree.map(jnp.result_type, optimizer.param_groups[0].memory.value)
        for _ in range(2):
            optimizer.update({"w": jnp.ones(3)})
        assert w.value.dtype == dtype
        assert jax.tree.map(jnp.result_type, optimizer.param_groups[0].memory.value) == before


def test_a_state_of_ones_own_may_be_trained():
    class Trained(State):
        pass

    w = Trained(jnp.ones(1))
    optim.SGD(1.0).register_trainable_weights({"w": w}).update({"w": jnp.ones(1)})
    assert float(w.value[0]) == 0.0


def test_old_values_survive_an_update():
    """The memory of states is given away, but not that of an array somebody still holds."""
    w = ParamState(jnp.ones(1000))
    optimizer = optim.Adam(0.1).register_trainable_weights({"w": w})
    before, saved = w.value, optimizer.state_dict()
    for _ in range(3):
        optimizer.update({"w": jnp.ones(1000)})
    np.testing.assert_array_equal(before, np.ones(1000))
    assert int(saved["step_count"]) == 0
