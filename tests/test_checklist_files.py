"""The checklist of the guide, 60 to 88: saving, patterns, advanced topics, troubleshooting."""

from __future__ import annotations

import datetime
import gc
import pickle

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checklist_models import Counter, Layer, Net, names
from spikexla import LongTermState, ParamState, ShortTermState, State
from spikexla.nn import Module, init_all_states
from spikexla.transform import UnusedStateWarning, grad, jit


def adam(params):
    optimizer = sx.optim.Adam(learning_rate=1e-2)
    optimizer.register_trainable_weights(params)
    return optimizer


def test_60_long_term_states_are_not_parameters():
    net = Net()
    assert not set(net.states(LongTermState)) & set(net.states(ParamState))
    inclusive = net.states(LongTermState, exact=False)
    assert set(inclusive) == {*net.states(LongTermState), *net.states(ParamState)}
    assert isinstance(net.layer1.W, LongTermState)  # as in brainstate


def test_61_an_optimizer_has_a_state_dict():
    optimizer = adam(Layer().states(ParamState))
    pickle.loads(pickle.dumps(optimizer.state_dict()))


def test_62_states_pickle_in_a_plain_dictionary():
    net = Net()
    saved = {"params": net.states(ParamState), "long_term": net.states(LongTermState), "epoch": 3}
    back = pickle.loads(pickle.dumps(saved))
    for part in ("params", "long_term"):
        assert list(back[part]) == list(saved[part])
        for key in saved[part]:
            np.testing.assert_array_equal(back[part][key].value, saved[part][key].value)


def test_63_what_is_saved_has_no_short_term_states():
    net = Net()
    saved = {**net.states(ParamState), **net.states(LongTermState)}
    assert not set(saved) & set(net.states(ShortTermState))
    assert len(saved) + len(net.states(ShortTermState)) == len(net.states())


def test_64_a_pickle_is_restored_by_name():
    net, fresh = Net(), Net()
    params = pickle.loads(pickle.dumps(net.states(ParamState)))
    for name, state in params.items():
        own = fresh.states(ParamState)
        assert name in own
        own[name].value = state.value
    x = jnp.ones(4)
    np.testing.assert_array_equal(net(x), fresh(x))


def test_65_an_optimizer_goes_on_from_its_state_dict():
    one, two = Layer(), Layer()
    for state, other in zip(one.states().values(), two.states().values(), strict=True):
        other.value = state.value
    first, second = adam(one.states(ParamState)), adam(two.states(ParamState))
    grads = {"W": jnp.full((3, 2), 0.3), "b": jnp.full(2, -0.1)}
    first.update(grads), second.update(grads)
    second = adam(two.states(ParamState))
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    first.update(grads), second.update(grads)
    np.testing.assert_array_equal(one.W.value, two.W.value)


def test_66_save_checkpoint_by_the_name_the_guide_uses(tmp_path):
    net = Net()
    optimizer = adam(net.states(ParamState))
    sx.save_checkpoint(net, optimizer, 3, tmp_path / "latest")
    fresh = Net()
    sx.load_checkpoint(tmp_path / "latest", fresh, adam(fresh.states(ParamState)))
    np.testing.assert_array_equal(fresh.layer1.W.value, net.layer1.W.value)


def test_67_metadata_lie_beside_the_states():
    metadata = {"epoch": 3, "config": {"n": 4}, "timestamp": datetime.datetime.now()}
    back = pickle.loads(pickle.dumps({"params": Layer().states(ParamState), **metadata}))
    assert {name: back[name] for name in metadata} == metadata


def test_68_trials_in_a_loop():
    net, seen = Net(), []
    for _ in range(2):
        init_all_states(net)
        seen.append([net(jnp.ones(4) * t) for t in range(3)][-1].tolist())
    assert seen[0] == seen[1]


def test_69_a_state_may_hold_a_python_number():
    class Steps(Module):
        def __init__(self):
            super().__init__()
            self.n = LongTermState(0)

        def update(self):
            self.n.value += 1

    steps = Steps()
    for call in (steps, jit(steps), steps, jit(steps)):
        call()
    assert steps.n.value == 4
    assert jnp.result_type(steps.n.value) == jnp.int32


def test_70_get_dt_is_a_quantity_of_time():
    with pytest.warns(sx.environ.MissingTimeStepWarning):
        assert sx.environ.get_dt().to_decimal(u.second) == pytest.approx(1e-4)
    sx.environ.set(dt=0.5 * u.ms)
    assert sx.environ.get_dt().to_decimal(u.second) == pytest.approx(5e-4)
    sx.environ.reset()
    with sx.config.context(strict=True), pytest.raises(KeyError, match="dt"):
        sx.environ.get_dt()


def test_71_a_parameter_may_be_written_directly():
    layer = Layer()
    layer.b.value -= 0.5
    jit(lambda: setattr(layer.b, "value", layer.b.value - 0.5))()
    assert layer.b.value.tolist() == [-1, -1]


def test_72_a_net_has_the_states_of_its_parts():
    assert names(Net().states(ParamState)) == ["layer1.W", "layer1.b", "rest.0.W", "rest.0.b"]


def test_73_every_module_is_reset_children_first():
    order = []

    class Node(Module):
        def reset_state(self, batch_size=None):
            order.append(self.name)

    net = Node("net")
    net.layer2, net.layer1 = Node("layer2"), Node("layer1")
    init_all_states(net)
    assert order == ["layer1", "layer2", "net"]


class Drawn(State):
    """B31."""

    def __init__(self, shape, low=0.0, high=1.0):
        super().__init__(jnp.zeros(shape))
        self.shape, self.low, self.high = shape, low, high

    def reset(self):
        self.value = sx.random.uniform(self.low, self.high, size=self.shape)


def test_74_a_state_class_of_ones_own_sets_any_attribute():
    state = Drawn((3,), 1.0, 2.0)
    state.dtype, state.size, state.unit = "mine", 3, None
    back = pickle.loads(pickle.dumps(state))
    assert (back.shape, back.low, back.dtype, back.size) == ((3,), 1.0, "mine", 3)


def test_75_its_reset_is_called():
    module = Module()
    module.noise = Drawn((3,), 1.0, 2.0)
    first = init_all_states(module).noise.value
    assert ((first >= 1) & (first < 2)).all()
    assert (init_all_states(module, batch_size=4).noise.value != first).all()


def test_76_a_state_in_two_modules_is_shared():
    one, two = Layer(), Layer()
    two.W = one.W
    pair = Module()
    pair.one, pair.two = one, two
    assert names(pair.states()) == ["one.W", "one.b", "two.b"]
    one.W.value = jnp.ones((3, 2))
    assert two(jnp.ones(3)).tolist() == [3, 3]
    for twin in (pickle.loads(pickle.dumps(pair)), init_all_states(pair)):
        assert twin.one.W is twin.two.W


def test_77_keys_print_as_names():
    shown = [f"{name}: {state.value.shape}" for name, state in Layer().states(ParamState).items()]
    assert shown == ["W: (3, 2)", "b: (2,)"]


def test_78_values_are_searched_for_nan():
    layer = Layer()
    layer.b.value = jnp.array([0.0, jnp.nan])
    params = layer.states(ParamState)
    assert names(n for n, s in params.items() if jnp.any(jnp.isnan(s.value))) == ["b"]


def test_79_values_are_formatted():
    V = sx.LIF(3, V_rest=-65.0, V_th=-50.0).V.value
    assert f"{V.min():.2f} {V.mean():.2f}" == "-65.00 -65.00"
    assert f"{sx.LIF(3, V_rest=-65 * u.mV, V_th=-50 * u.mV).V.value.max():.2f}" == "-65.00 mV"


def test_80_assigning_to_the_attribute_is_a_mistake_that_is_reported():
    counter = Counter()
    with sx.config.context(strict=True), pytest.raises(TypeError, match=r"Counter\.V is a Short"):
        counter.V = jnp.zeros(3)
    counter.V.value = jnp.ones(3)


def test_81_input_without_a_unit_is_read_in_ma_with_one_warning():
    sx.environ.set(dt=0.1)
    neuron = init_all_states(sx.LIF(100, V_rest=-65 * u.mV, V_th=-50 * u.mV), batch_size=32)
    with pytest.warns(sx.units.UnitlessInputWarning, match="mA"):
        neuron(jnp.ones((32, 100)))
    neuron(jnp.ones((32, 100)))  # said once
    other = init_all_states(sx.LIF(100, V_rest=-65 * u.mV, V_th=-50 * u.mV), batch_size=32)
    for _ in range(2):
        other(jnp.ones((32, 100)) * u.mA)
    np.testing.assert_array_equal(neuron.V.value.mantissa, other.V.value.mantissa)
    with sx.config.context(strict_units=True), pytest.raises(TypeError, match="mA"):
        neuron(jnp.ones((32, 100)))


def test_82_a_wrong_batch_is_an_error():
    sx.environ.set(dt=0.1)
    neuron = init_all_states(sx.LIF(100), batch_size=32)
    named = r"ShortTermState 'LIF\.V' \(created at .*V \(32, 100\), I \(16, 100\)"
    for step in (neuron, sx.transform.jit(neuron)):
        with pytest.raises(ValueError, match=named):
            step(jnp.ones((16, 100)))
    assert neuron.V.value.shape == (32, 100)


def test_83_gradients_are_of_parameters_only():
    net = Net()
    with pytest.warns(UnusedStateWarning):
        grads = grad(lambda: net.layer1.W.value.sum(), net.states(ParamState))()
    assert list(grads) == list(net.states(ParamState))
    with pytest.raises(TypeError, match="no gradient"):
        grad(lambda: net.rest[1].total.value.sum() * 1.0, net.states(LongTermState))()


def test_84_an_unused_parameter_has_a_zero_gradient_and_a_warning():
    layer = Layer()
    loss = lambda: (layer.W.value**2).sum()  # noqa: E731
    with pytest.warns(UnusedStateWarning, match=r"Layer\.b"):
        assert (grad(loss, layer.states(ParamState))()["b"] == 0).all()
    with pytest.raises(ValueError, match=r"Layer\.b"):
        grad(loss, layer.states(ParamState), check_states=True)()


def test_85_a_long_loop_keeps_nothing():
    counter = init_all_states(Counter())
    step = jit(counter)
    step(0.0)
    gc.collect()
    before = len(jax.live_arrays())
    for _ in range(10_000):
        step(0.0)
    gc.collect()
    assert len(jax.live_arrays()) <= before + 2


def test_86_the_quick_reference():
    counter, layer = Counter(), Layer()
    init_all_states(counter, batch_size=32)
    assert counter.V.value.shape == (32, 3)
    params = layer.states(ParamState)
    grads = grad(lambda: layer(jnp.ones(3)).sum(), params)()
    assert grads["b"].tolist() == [1, 1]


def test_87_register_then_update():
    layer = Layer()
    params = layer.states(ParamState)
    optimizer = adam(params)
    before = layer.b.value
    optimizer.update(grad(lambda: layer(jnp.ones(3)).sum(), params)())
    assert (layer.b.value < before).all()


def test_88_parameters_statistics_and_the_optimizer_fit_in_one_pickle():
    net = Net()
    optimizer = adam(net.states(ParamState))
    saved = {
        "params": net.states(ParamState),
        "long_term": net.states(LongTermState),
        "optimizer": optimizer.state_dict(),
    }
    back = pickle.loads(pickle.dumps(saved))
    optimizer.load_state_dict(back["optimizer"])
    assert list(back["params"]) == list(saved["params"])


def test_every_number_of_the_checklist_has_its_test():
    import test_checklist_init as b
    import test_checklist_states as a
    import test_checklist_training as c

    found = [name for m in (vars(a), vars(b), vars(c), globals()) for name in m]
    numbers = sorted(int(n[5:7]) for n in found if n.startswith("test_") and n[5:7].isdigit())
    assert numbers == list(range(1, 89))
