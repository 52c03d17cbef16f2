"""Expon, COBA and CUBA: closed forms, order of a step, units, batches, errors."""

import math
import pickle

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.synapse.base import Describer


def test_expon_decays_then_adds(dt):
    sx.environ.set(precision=64)
    arrivals = (np.random.default_rng(0).random(400) < 0.1).astype(float)
    synapse = sx.Expon(1, tau=8.0)
    path = sx.transform.for_loop(lambda x: synapse(x), jnp.asarray(arrivals))
    g, expected = 0.0, []
    for x in arrivals:
        g = g * math.exp(-0.1 / 8.0) + x
        expected.append(g)
    np.testing.assert_allclose(path[:, 0], expected, rtol=1e-13)


def test_jumps_count_once_and_currents_are_integrated(dt):
    synapse = sx.Expon(2, tau=5.0)
    synapse.add_delta_input("jump", jnp.array([1.0, 0.0]))
    synapse.add_current_input("current", jnp.array([0.0, 2.0]))
    first, second = synapse(), synapse()
    decay = math.exp(-0.1 / 5.0)
    np.testing.assert_allclose(first, [1.0, 2.0 * (1 - decay)], rtol=1e-5)
    np.testing.assert_allclose(second, first * decay, rtol=1e-5)


@pytest.mark.parametrize("precision", [32, 64])
def test_decay_is_rounded_once(precision):
    sx.environ.set(dt=0.1, precision=precision)
    decay = sx.Expon(1, tau=5.0).decay(0.1)
    assert decay.dtype == f"float{precision}"
    assert float(decay) == np.dtype(decay.dtype).type(math.exp(-0.1 / 5.0))
    assert float(sx.Expon(1, tau=5.0 * u.ms).decay(0.1 * u.ms)) == float(decay)


@pytest.mark.parametrize("batch", [None, 3, (2, 3)])
def test_shapes(dt, batch):
    synapse = sx.Expon((2, 5))
    sx.nn.init_all_states(synapse, batch_size=batch)
    lead = () if batch is None else (batch,) if isinstance(batch, int) else batch
    assert synapse.g.value.shape == synapse(jnp.ones((2, 5))).shape == (*lead, 2, 5)


def test_tau_may_be_learned_and_differ(dt):
    tau = sx.ParamState(jnp.array([2.0, 20.0]))
    synapse = sx.Expon(2, tau=tau, g_initializer=1.0)

    def loss():
        sx.nn.init_all_states(synapse)
        return synapse().sum()

    (gradient,) = sx.transform.grad(loss, synapse.states(sx.ParamState))().values()
    expected = 0.1 / tau.value**2 * jnp.exp(-0.1 / tau.value)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_units_are_kept(dt):
    synapse = sx.Expon(2, tau=5.0 * u.ms, g_initializer=0.0 * u.mS)
    g = synapse(jnp.ones(2) * 3.0 * u.mS)
    np.testing.assert_allclose(g.to_decimal(u.mS), [3.0, 3.0], rtol=1e-6)
    with pytest.raises(TypeError, match="input of Expon must be given in S"):
        synapse(1.0 * u.mV)
    with pytest.raises(TypeError, match="siemens, mA or mV"):
        sx.Expon(1, g_initializer=1.0 * u.metre)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_a_time_constant_must_be_positive(dt, tau):
    with pytest.raises(ValueError, match=r"Expon\.tau is .* must be positive"):
        sx.Expon(1, tau=tau)


def test_outputs_are_linear_in_V():
    coba, cuba = sx.COBA(E=-80.0), sx.CUBA(scale=2.0)
    for out in (coba, cuba):
        assert not out.isbound
        with pytest.raises(ValueError, match="call `bind_cond"):
            out(-60.0)
        out.bind_cond(jnp.array([0.5, 1.0]))
    assert coba(-60.0).tolist() == [-10.0, -20.0]
    current, slope = coba.linear()
    assert (current - slope * -60.0).tolist() == [-10.0, -20.0]
    assert cuba(-60.0).tolist() == [1.0, 2.0]
    assert cuba.linear()[1] is None


def test_outputs_take_units():
    coba = sx.COBA(E=-0.08 * u.volt)
    assert coba.E_mantissa == pytest.approx(-80.0)
    coba.bind_cond(500.0 * u.mS)
    assert coba.linear()[1] == pytest.approx(0.5)
    assert coba(-60.0 * u.mV).to_decimal(u.mA) == pytest.approx(-10.0)
    cuba = sx.CUBA()
    cuba.bind_cond(1.62 * u.mS)  # times one volt
    assert cuba() == pytest.approx(1.62)
    cuba = sx.CUBA(scale=u.volt)
    cuba.bind_cond(1.62 * u.mS)
    assert cuba() == pytest.approx(1.62)
    with pytest.raises(TypeError, match=r"COBA\.E must be given in mV"):
        sx.COBA(E=1.0 * u.mA)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (sx.Expon.desc(3, tau=5.0), sx.Expon.desc(3, tau=5.0), True),
        (sx.Expon.desc(3, tau=5.0), sx.Expon.desc(3, tau=5), False),
        (sx.Expon.desc(3, tau=5.0 * u.ms), sx.Expon.desc(3, tau=5.0 * u.ms), True),
        (sx.Expon.desc(3, tau=5.0 * u.ms), sx.Expon.desc(3, tau=5.0 * u.second), False),
        (sx.Expon.desc(3, tau=np.ones(3)), sx.Expon.desc(3, tau=np.ones(3)), True),
        (sx.Expon.desc(2000, tau=np.ones(2000)), sx.Expon.desc(2000, tau=np.arange(2000)), False),
        (sx.COBA.desc(E=0.0), sx.CUBA.desc(0.0), False),
    ],
)
def test_describers_compare_all_they_were_given(a, b, same):
    assert isinstance(a, Describer)
    assert (a.key == b.key) is same


def test_synapses_and_outputs_pickle(dt):
    synapse, out = sx.Expon(2), sx.COBA(E=-80.0)
    synapse(jnp.ones(2))
    out.bind_cond(1.0)
    twin = pickle.loads(pickle.dumps(synapse))
    assert twin().tolist() == synapse().tolist()
    assert not pickle.loads(pickle.dumps(out)).isbound
