"""The checklist of the guide, 28 to 42: initialisation, and access to values and states."""

from __future__ import annotations

import brainunit as u
import jax
import jax.numpy as jnp
import pytest
import spikexla as sx
from checklist_models import Counter, Layer, Net, names
from spikexla import LongTermState, ParamState, ShortTermState, init
from spikexla.nn import Module, StateOverwriteWarning, init_all_states, reset_all_states

GUIDE_LIF = {"V_rest": -65 * u.mV, "V_th": -50 * u.mV, "tau": 10 * u.ms}


def test_28_init_all_states_with_and_without_batch():
    counter = Counter()
    assert init_all_states(counter) is counter
    assert init_all_states(counter, batch_size=32).V.value.shape == (32, 3)


def test_29_it_reaches_every_module_and_calls_reset_state():
    called = []

    class Node(Module):
        def __init__(self, label, *parts):
            super().__init__()
            self.label, self.parts = label, {"one": [*parts]}

        def reset_state(self, batch_size=None):
            called.append((self.label, batch_size))

    shared = Node("shared")
    init_all_states(Node("top", Node("mid", shared), shared), batch_size=2)
    assert called == [("shared", 2), ("mid", 2), ("top", 2)]


def test_30_lif_takes_the_guides_arguments():
    neuron = sx.LIF(800, **GUIDE_LIF)
    assert (neuron.V.value == -65 * u.mV).all()
    assert neuron.V_reset == -65 * u.mV
    with sx.compat.install(force=True):
        import brainpy as bp

        assert bp.LIF is sx.LIF


def test_31_one_call_reaches_populations_and_projections():
    sx.environ.set(dt=0.1)
    net = init_all_states(sx.COBANet(40), batch_size=2)
    states = net.states(ShortTermState)
    assert len(states) > 2
    assert {state.value.shape[0] for state in states.values()} == {2}


@pytest.mark.parametrize("size", [5, (2, 5)])
def test_32_reset_state_may_draw_at_random(size):
    class Random(Module):
        def __init__(self):
            super().__init__()
            self.V = ShortTermState(jnp.zeros(size))

        def reset_state(self, batch_size=None):
            self.V.value = sx.random.uniform(-70, -60, size=size)

    V = init_all_states(Random()).V
    first = V.value
    assert first.shape == jnp.zeros(size).shape
    assert ((first >= -70) & (first <= -60)).all()
    assert (init_all_states(Random()).V.value != first).all()


def test_33_the_built_in_models_follow_the_best_practice():
    """They take a batch, reset every ShortTermState and leave the other kinds alone."""
    net = Net()
    net.neuron, net.synapse = sx.LIFRef(3, V_rest=ParamState(-1.0)), sx.Expon(3)
    before = {k: s.value for k, s in net.states().items()}
    for state in net.states(ShortTermState).values():
        state.value = state.value + 5.0
    for batch_size in (2, None):
        init_all_states(net, batch_size=batch_size)
        for state in net.states(ShortTermState).values():
            assert state.value.shape == ((3,) if batch_size is None else (2, 3))
            assert not (state.value == 5.0).any()
    for kind in (ParamState, LongTermState):
        for key, state in net.states(kind).items():
            assert state.value is before[key]


def test_34_initialisers_take_the_shape_by_name():
    assert init.XavierNormal()(shape=(30, 20)).shape == (30, 20)
    assert init.XavierNormal()((30, 20)).shape == (30, 20)


def test_35_the_guides_initialisers():
    assert abs(init.KaimingNormal()(shape=(400, 50)).std() - (2 / 400) ** 0.5) < 0.005
    assert (init.Constant(0.0)(shape=(4,)) == 0).all()
    Q = init.Orthogonal()(shape=(100, 100))
    assert jnp.allclose(Q @ Q.T, jnp.eye(100), atol=1e-5)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (init.Constant(2.0), (3,)),
        (init.Normal(1.0, 0.1), (50, 50)),
        (init.Uniform(-1.0, 1.0), (50, 50)),
        (init.XavierNormal(), (50, 50)),
        (init.XavierUniform(), (50, 50)),
        (init.KaimingNormal(), (50, 50)),
        (init.KaimingUniform(), (50, 50)),
        (init.Orthogonal(), (50, 50)),
        (init.Identity(), (50, 50)),
    ],
    ids=lambda x: type(x).__name__ if callable(x) else "",
)
def test_36_every_initialiser_of_the_list(made, shape):
    value = made(shape=shape)
    assert value.shape == shape
    assert value.dtype == jnp.float32
    assert jnp.isfinite(value).all()


def test_37_values_are_read():
    neuron = init_all_states(sx.LIF(100, **GUIDE_LIF))
    assert neuron.V.value.shape == (100,)
    assert neuron.V.value[0] == -65 * u.mV


def test_38_a_plain_number_written_to_a_potential_is_mv():
    sx.environ.set(dt=0.1)
    plain, carrying = sx.LIF(100, **GUIDE_LIF), sx.LIF(100, **GUIDE_LIF)
    with pytest.warns(sx.units.UnitlessInputWarning, match=r"'LIF\.V' .*unit mV .*read it in mV"):
        plain.V.value = jnp.ones(100) * -60.0
    plain.V.value = jnp.ones(100) * -60.0  # said once
    carrying.V.value = jnp.ones(100) * -60.0 * u.mV
    plain(), carrying()
    assert jnp.allclose(plain.V.value, carrying.V.value.to_decimal(u.mV))
    with sx.config.context(strict_units=True), pytest.raises(TypeError, match="strict_units"):
        carrying.V.value = jnp.ones(100)
    assert carrying.V.value.unit == u.mV


def test_39_values_are_changed_in_part_and_added_to():
    neuron = sx.LIF(100, V_rest=-65.0, V_th=-50.0)
    neuron.V.value = neuron.V.value.at[0:10].set(-55.0)
    neuron.V.value = neuron.V.value + 0.1
    assert jnp.allclose(neuron.V.value[:10], -54.9)
    assert jnp.allclose(neuron.V.value[10:], -64.9)


def test_40_overwriting_the_state_itself_is_reported():
    neuron = sx.LIF(2)
    with pytest.warns(StateOverwriteWarning, match=r"write `\.V\.value = "):
        neuron.V = jnp.ones(2)
    assert names(neuron.states()) == []
    other = sx.LIF(2)
    with sx.config.context(strict=True), pytest.raises(TypeError, match=r"\.V\.value"):
        other.V = jnp.ones(2)
    assert other.V.value.shape == (2,)


def test_41_states_by_kind_or_all():
    net = Net()
    assert names(net.states(ParamState)) == ["layer1.W", "layer1.b", "rest.0.W", "rest.0.b"]
    assert names(net.states(ShortTermState)) == ["rest.1.V", "rest.1.spike"]
    assert len(net.states()) == 7


def test_42_states_are_dictionaries_by_name():
    layer, counter = Layer(), Counter()
    assert layer.states(ParamState) == {"W": layer.W, "b": layer.b}
    assert layer.states(ParamState) == {("W",): layer.W, ("b",): layer.b}
    assert layer.states(ParamState) != {"W": layer.W}
    assert names(counter.states(ShortTermState)) == ["V", "spike"]
    assert jax.tree.map(lambda s: s.value.shape, layer.states()) == {"W": (3, 2), "b": (2,)}
    assert reset_all_states(counter) is counter
