"""The checklist of the guide, 1 to 27: what a State is, and the three kinds."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checklist_models import Counter, Layer, Net, names
from spikexla import LongTermState, ParamState, ShortTermState, State
from spikexla.nn import init_all_states, reset_all_states
from spikexla.transform import for_loop, grad, jit, vmap

KINDS = (ParamState, ShortTermState, LongTermState)


def test_01_a_state_is_any_variable_that_persists_across_calls():
    neuron, synapse = sx.LIF(2), sx.Expon(2)
    assert all(isinstance(s, State) for s in (neuron.V, synapse.g, Layer().W, Counter().spike))
    counter = Counter()
    counter(1.0)
    counter(1.0)
    assert counter.V.value.tolist() == [2.0, 2.0, 2.0]


def test_02_every_stateful_variable_is_tracked():
    net = Net()
    found = net.states()
    assert len(found) == 7
    assert {id(s) for s in found.values()} == {
        id(s)
        for s in (
            *(x for layer in (net.layer1, net.rest[0]) for x in (layer.W, layer.b)),
            *(getattr(net.rest[1], name) for name in ("V", "spike", "total")),
        )
    }


def test_03_the_lifecycle_is_create_init_update_save_load():
    counter = Counter()
    V = counter.V
    init_all_states(counter)
    counter(jnp.array([0.0, 5.0, 10.0]))
    saved = pickle.dumps(counter.states(LongTermState))
    fresh = init_all_states(Counter())
    fresh.states(LongTermState)["total"].value = pickle.loads(saved)["total"].value
    assert fresh.total.value.tolist() == [0, 0, 1]
    assert counter.V is V


@pytest.mark.parametrize("kind", KINDS)
def test_04_states_are_saved_and_loaded_easily(kind):
    back = pickle.loads(pickle.dumps(kind(jnp.arange(3.0), name="x")))
    assert type(back) is kind
    assert back.name == "x"
    assert isinstance(back.value, jax.Array)
    assert back.value.tolist() == [0, 1, 2]


@pytest.mark.parametrize("transform", [jit, lambda f: lambda x: for_loop(f, x[None])[0]])
def test_05_states_work_under_functional_transforms(transform):
    a, b, x = Counter(), Counter(), jnp.full(3, 6.0)
    init_all_states(a), init_all_states(b)
    np.testing.assert_array_equal(a(x), transform(b)(x))
    np.testing.assert_array_equal(a.V.value, b.V.value)
    np.testing.assert_array_equal(a.total.value, b.total.value)


def test_06_states_can_be_looked_at():
    counter = init_all_states(Counter(), batch_size=2)
    assert counter.V.name == "Counter.V"
    assert counter.V.value.shape == (2, 3)
    assert repr(counter.V) == "ShortTermState(float32[2,3], 24 B)"
    assert "total: LongTermState(int32[3], 12 B)" in repr(counter)


def test_07_gradients_flow_through_states():
    counter = Counter()

    def energy():
        counter.V.value = 2.0 * counter.V.value
        return (counter.V.value**2).sum()

    counter.V.value = jnp.array([1.0, 2.0, 3.0])
    assert grad(energy, counter.V)().tolist() == [8.0, 16.0, 24.0]


@pytest.mark.parametrize(
    ("check", "new", "message"),
    [
        (True, jnp.zeros(4), r"ShortTermState 'V'.* shape \(3,\).* given \(4,\)"),
        (True, jnp.zeros(3, jnp.int32), "dtype float32, and was given int32"),
        (True, {"a": jnp.zeros(3)}, "structure"),
        ("dtype", jnp.zeros(4, jnp.int32), "dtype"),
        (("tree", "shape"), jnp.zeros((3, 2)), "shape"),
    ],
)
def test_08_types_are_validated_for_those_who_ask(check, new, message):
    state = ShortTermState(jnp.zeros(3), "V", check=check)
    with pytest.raises(ValueError, match=message):
        state.value = new
    with pytest.raises(ValueError, match=message):
        jit(lambda x: setattr(state, "value", x))(new)
    for copied in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        with pytest.raises(ValueError, match=message):
            copied.value = new
    assert state.value.tolist() == [0, 0, 0]
    state.value = jnp.ones((5, 3))  # trials come and go
    ShortTermState(jnp.zeros(3)).value = new


def test_09_three_kinds_stand_side_by_side():
    for kind in KINDS:
        assert kind.__bases__ == (State,)
        module = sx.nn.Module()
        module.x = kind(0.0)
        assert [list(module.states(k)) == ["x"] for k in KINDS] == [k is kind for k in KINDS]


def test_10_parameters_are_what_gradients_reach_and_files_keep():
    layer = Layer()
    params = layer.states(ParamState)
    grads = grad(lambda x: layer(x).sum(), params)(jnp.ones(3))
    for name, state in params.items():
        state.value = state.value - 0.1 * grads[name]
    assert jnp.allclose(layer.b.value, -0.1)
    assert names(pickle.loads(pickle.dumps(params))) == ["W", "b"]


@pytest.mark.parametrize("again", [init_all_states, reset_all_states])
def test_11_a_trial_resets_short_term_states_of_any_module(again):
    class Plain(sx.nn.Module):
        def __init__(self):
            super().__init__()
            self.g = ShortTermState(jnp.full(2, 3.0))

    plain = Plain()
    plain.g.value = jnp.zeros(2)
    assert again(plain).g.value.tolist() == [3.0, 3.0]
    assert "g" not in {**plain.states(ParamState), **plain.states(LongTermState)}


def test_12_long_term_states_are_saved_but_not_trained():
    net = Net()
    kept, trained = net.states(LongTermState), net.states(ParamState)
    assert names(kept) == ["rest.1.total"]
    assert not set(kept) & set(trained)


def test_13_a_module_needs_no_arguments_to_super_init():
    with sx.compat.install(force=True):
        import brainstate

        class L(brainstate.nn.Module):
            def __init__(self):
                super().__init__()

    assert isinstance(L(), sx.nn.Module)


def test_14_a_parameter_is_made_of_an_array():
    made = ParamState(sx.random.randn(3, 2) * 0.01)
    assert made.value.shape == (3, 2)
    assert made.value.dtype == jnp.float32


def test_15_calling_a_module_is_its_update():
    layer = Layer()
    layer.b.value = jnp.array([1.0, 2.0])
    x = jnp.array([1.0, 0.0, 2.0])
    expected = np.asarray(x) @ np.asarray(layer.W.value) + [1, 2]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)


def test_16_states_are_found_by_name():
    layer = Layer()
    params = layer.states(ParamState)
    assert repr(params).startswith("{'W': ParamState(")
    assert list(params) == ["W", "b"]
    assert params["W"] is params[("W",)] is layer.W


def test_17_parameters_persist_across_trials():
    layer = Layer()
    layer.W.value = jnp.full((3, 2), 7.0)
    for batch_size in (None, 4):
        assert (init_all_states(layer, batch_size=batch_size).W.value == 7).all()


def test_18_a_time_constant_can_be_learned():
    neuron = sx.LIF(3, tau=ParamState(jnp.full(3, 10.0)), V_th=100.0)
    sx.environ.set(dt=0.1)

    def energy():
        neuron(5.0)
        return neuron.V.value.sum()

    grads = grad(energy, neuron.states(ParamState))()
    assert names(grads) == ["tau"]
    # d/dtau of 5 (1 - exp(-dt / tau)) is -5 exp(-dt / tau) dt / tau^2
    np.testing.assert_allclose(grads["tau"], -5 * np.exp(-0.01) * 0.1 / 100, rtol=1e-4)


def test_19_short_term_states_are_reset_and_not_among_those_saved():
    net = Net()
    net(jnp.ones(4))
    init_all_states(net)
    assert (net.rest[1].V.value == -65).all()
    saved = {**net.states(ParamState), **net.states(LongTermState)}
    assert {"V", "spike"}.isdisjoint(key[-1] for key in saved)


def test_20_quantities_become_numbers_and_states_hold_either():
    import brainunit as u

    V_rest = -65.0 * u.mV
    assert ShortTermState(jnp.ones(2) * V_rest.to_decimal(u.mV)).value.tolist() == [-65, -65]
    state = ShortTermState(jnp.ones(2) * V_rest)
    assert state.value.unit == u.mV
    assert repr(state) == "ShortTermState(float32[2] mV, 8 B)"


def test_21_init_all_states_calls_reset_state():
    assert (init_all_states(Counter()).V.value == -65).all()


def test_22_a_batch_dimension_comes_and_goes():
    counter, step = Counter(), jit(lambda c, x: c(x), static_argnums=0)
    for batch_size, shape in ((4, (4, 3)), (None, (3,)), (2, (2, 3))):
        init_all_states(counter, batch_size=batch_size)
        assert counter.V.value.shape == shape
        assert step(counter, jnp.ones(3)).shape == shape
        counter.total.value = jnp.zeros(3, jnp.int32)


def test_23_update_writes_several_states():
    counter = init_all_states(Counter())
    jit(counter)(10.0)
    assert counter.V.value.tolist() == [-55] * 3
    assert counter.spike.value.tolist() == [1] * 3


def test_24_states_may_hold_integers():
    counter = init_all_states(Counter())
    for_loop(lambda i: counter(5.0), jnp.arange(4))
    assert counter.total.value.dtype == jnp.int32
    assert counter.total.value.tolist() == [3, 3, 3]


def test_25_a_state_is_read_and_written_in_one_statement():
    state = LongTermState(jnp.zeros(2))
    state.value += 1
    jit(lambda: setattr(state, "value", state.value + 1))()
    assert state.value.tolist() == [2, 2]


def test_26_a_state_that_was_never_created_is_missed_by_name():
    class Forgetful(sx.nn.Module):
        def update(self, x):
            return self.spike.value

    with pytest.raises(AttributeError, match="spike"):
        Forgetful()(1.0)


def test_27_long_term_states_accumulate_over_trials():
    counter = Counter()
    for _ in range(3):
        init_all_states(counter)
        counter(10.0)
    assert counter.total.value.tolist() == [3, 3, 3]
    assert vmap(lambda x: x + counter.total.value)(jnp.zeros((2, 3))).shape == (2, 3)
