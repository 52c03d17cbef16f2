"""The checklist of the guide, 43 to 59: training and batches."""

from __future__ import annotations

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checklist_models import Counter, Layer, Net, names
from spikexla import ParamState, ShortTermState
from spikexla.nn import init_all_states
from spikexla.transform import UnusedStateWarning, grad, jit

GUIDE_LIF = {"V_rest": -65 * u.mV, "V_th": -50 * u.mV, "tau": 10 * u.ms}
X, Y = jnp.ones((5, 3)), jnp.zeros((5, 2))


def loss_fn(params, net, X, y):
    return jnp.mean((net(X) - y) ** 2)


def adam(params, learning_rate=1e-2):
    optimizer = sx.optim.Adam(learning_rate=learning_rate)
    optimizer.register_trainable_weights(params)
    return optimizer


def test_43_the_loss_uses_the_parameters_of_the_net():
    layer = Layer()
    before = loss_fn(None, layer, X, Y)
    layer.b.value = layer.b.value + 1.0
    assert loss_fn(layer.states(ParamState), layer, X, Y) != before


def test_44_grad_binds_the_states_and_takes_modules():
    layer = Layer()
    params = layer.states(ParamState)
    short = grad(loss_fn, params)(layer, X, Y)
    long = grad(loss_fn, params)(params, layer, X, Y)
    np.testing.assert_array_equal(short["W"], long["W"])


def test_45_gradients_have_the_keys_of_the_states():
    layer = Layer()
    params = layer.states(ParamState)
    grads = grad(loss_fn, params)(layer, X, Y)
    assert type(grads) is sx.StateDict
    assert list(grads) == list(params) == ["W", "b"]
    assert grads["W"].shape == layer.W.value.shape


def test_46_other_states_are_constants_to_a_gradient():
    class Recurrent(Layer):
        def __init__(self):
            super().__init__()
            self.h = ShortTermState(jnp.full(2, 0.5))

        def update(self, x):
            self.h.value = 0.5 * self.h.value + super().update(x).sum(0)
            return self.h.value

    net = Recurrent()
    grads = grad(lambda x: net(x).sum(), net.states(ParamState))(X)
    assert names(grads) == ["W", "b"]
    assert (grads["b"] == 5).all()
    assert not (net.h.value == 0.5).any()


def test_47_adam_takes_its_learning_rate_by_either_name():
    for name in ("learning_rate", "lr"):
        layer = Layer()
        optimizer = sx.optim.Adam(**{name: 0.5})
        optimizer.register_trainable_weights(layer.states(ParamState))
        optimizer.update({"W": jnp.ones((3, 2)), "b": jnp.ones(2)})
        np.testing.assert_allclose(layer.b.value, -0.5, rtol=1e-5)  # Adam's first step is lr


def test_48_an_optimizer_takes_what_states_returns():
    layer = Layer()
    before = layer.b.value
    adam(layer.states(ParamState)).update({("W",): jnp.ones((3, 2)), ("b",): jnp.ones(2)})
    assert (layer.b.value != before).all()


def test_49_a_fresh_grad_in_a_loop_is_compiled_once():
    class Counting(Layer):
        traced = 0

        def update(self, x):
            Counting.traced += 1
            return super().update(x)

    layer = Counting()
    params = layer.states(ParamState)
    for _ in range(5):
        grad(loss_fn, params, return_value=False)(layer, X, Y)
    assert Counting.traced == 1


def test_50_update_trains_all_registered_parameters_in_place():
    layer = Layer()
    params, W = layer.states(ParamState), layer.W
    optimizer = adam(params)
    losses = []
    for _ in range(50):
        grads, loss = grad(loss_fn, params, return_value=True)(layer, X, Y)
        optimizer.update(grads)
        losses.append(float(loss))
    assert layer.W is W
    assert losses[-1] < 0.1 * losses[0]


def test_51_init_all_states_resets_the_dynamics_before_an_example():
    counter = Counter()
    outputs = []
    for _ in range(2):
        init_all_states(counter)
        outputs.append(counter(3.0).tolist())
    assert outputs[0] == outputs[1]


def test_52_without_a_reset_the_state_carries_over():
    counter = init_all_states(Counter())
    counter(3.0)
    counter(3.0)
    assert counter.V.value.tolist() == [-59.0] * 3


@pytest.mark.parametrize(("batch", "shape"), [(None, (100,)), (32, (32, 100)), (1, (1, 100))])
def test_53_states_have_the_shape_of_the_batch(batch, shape):
    assert init_all_states(sx.LIF(100, **GUIDE_LIF), batch_size=batch).V.value.shape == shape


def test_54_a_batch_of_currents_with_a_unit_and_no_dt():
    neuron = init_all_states(sx.LIF(100, **GUIDE_LIF), batch_size=32)
    with pytest.warns(sx.environ.MissingTimeStepWarning, match=r"0\.1 ms"):
        assert neuron(sx.random.rand(32, 100) * 2.0 * u.nA).shape == (32, 100)
    # 1 nA through 1 ohm is 1e-6 mV: the V of the guide's neuron does not move visibly.
    assert jnp.allclose(neuron.V.value.to_decimal(u.mV), -65.0)


def test_55_spikes_have_the_batch():
    neuron = init_all_states(sx.LIF(100, **GUIDE_LIF), batch_size=32)
    assert neuron.get_spike().shape == (32, 100)
    assert neuron.get_spike().dtype == jnp.float32


def test_56_a_quantity_is_broadcast_by_brainunit():
    currents = jnp.linspace(0, 5, 4).reshape(-1, 1) * u.nA
    with pytest.raises(TypeError, match="broadcast_to"):
        jnp.broadcast_to(currents, (4, 100))  # jax.numpy knows no units
    sx.environ.set(dt=0.1)
    neuron = init_all_states(sx.LIF(100, **GUIDE_LIF), batch_size=4)
    assert neuron(u.math.broadcast_to(currents, (4, 100))).shape == (4, 100)


def test_57_eager_steps_run_one_kept_program(monkeypatch):
    sx.environ.set(dt=0.1)
    neuron, traced = sx.LIF(5, **GUIDE_LIF), []
    step = sx.LIF._step
    monkeypatch.setattr(sx.LIF, "_step", lambda self, x: traced.append(1) or step(self, x))
    for _ in range(20):
        neuron(jnp.ones(5) * 20.0 * u.mA)
    assert len(traced) == 1
    assert not (neuron.V.value == -65 * u.mV).any()


def test_58_a_neuron_has_spike_as_it_has_v():
    neuron = init_all_states(sx.LIF(100, **GUIDE_LIF), batch_size=10)
    neuron.V.value = neuron.V.value.at[3].set(-40 * u.mV)
    assert jnp.sum(neuron.spike.value, axis=1).tolist() == [0, 0, 0, 100] + [0] * 6
    assert names(neuron.states()) == ["V"]


def test_59_trials_of_a_batch_are_independent():
    sx.environ.set(dt=0.1)
    together = init_all_states(sx.LIF(4, V_th=20.0), batch_size=3)
    currents = jnp.arange(3.0)[:, None] * jnp.ones(4)
    run = jit(lambda net, x: net(x))
    for _ in range(3):
        run(together, currents)
    for k in range(3):
        alone = sx.LIF(4, V_th=20.0)
        for _ in range(3):
            alone(currents[k])
        np.testing.assert_array_equal(together.V.value[k], alone.V.value)
    net = Net()
    with pytest.warns(UnusedStateWarning, match="does not read ParamState 'Layer.W'"):
        grad(lambda: net.rest[0].W.value.sum(), net.layer1.states())()
