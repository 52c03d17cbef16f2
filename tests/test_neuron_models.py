"""LIF and LIFRef against closed forms, with units, batches, gradients and errors."""

import math
import pickle

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.units import UnitlessInputWarning

BACKENDS = ["native", "xla"]
CELL = {"V_rest": -60.0, "V_reset": -65.0, "V_th": -50.0, "tau": 10.0}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with sx.backend(request.param):
        yield request.param


def heaviside(x):
    return float(x >= 0)


def closed_form(inputs, reset, dt, tau_ref=None):
    """(spikes, V) of one neuron, one addition at a time; refractory by the clock, not a count."""
    V_rest, V_reset, V_th, tau = -60.0, -65.0, -50.0, 10.0
    V, last, spikes, path = V_rest, -1e7, [], []
    for n, current in enumerate(inputs):
        V = V - ((V_th if reset == "soft" else V) - V_reset) * heaviside(V - V_th)
        held = tau_ref is not None and (n * dt - last) < tau_ref - 1e-9
        if not held:
            V = V + (1 - math.exp(-dt / tau)) * (V_rest - V + current)
        if V_th <= V:
            last = n * dt
        spikes.append(heaviside(V - V_th))
        path.append(V)
    return np.array(spikes), np.array(path)


def run(neuron, inputs, **kwargs):
    def step(x):
        return neuron(x, **kwargs), neuron.V.value

    return sx.transform.for_loop(step, inputs)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("tau_ref", [None, 0.0, 2.0, 5.0])
def test_a_neuron_follows_its_closed_form_step_by_step(backend, reset, tau_ref):
    sx.environ.set(dt=0.1, precision=64)
    inputs = np.random.default_rng(0).uniform(0, 60, 600)
    if tau_ref is None:
        neuron = sx.LIF(1, spk_reset=reset, **CELL)
    else:
        neuron = sx.LIFRef(1, tau_ref=tau_ref, spk_reset=reset, **CELL)
    spikes, V = run(neuron, jnp.asarray(inputs))
    expected_spikes, expected_V = closed_form(inputs, reset, 0.1, tau_ref)
    assert expected_spikes.sum() > 5
    np.testing.assert_array_equal(spikes[:, 0], expected_spikes)
    np.testing.assert_allclose(V[:, 0], expected_V, rtol=1e-12)


def test_5_ms_of_refractoriness_hold_49_steps(backend, dt):
    neuron = sx.LIFRef(1, tau_ref=5.0, spk_reset="hard", **CELL)
    spikes, V = run(neuron, jnp.full(120, 1e4))
    at = np.flatnonzero(spikes[:, 0])
    assert at[1] - at[0] == 50
    held = V[at[0] + 1 : at[1], 0]
    assert held.shape == (49,)
    assert (held == -65.0).all()


# tau 20 ms, t_ref 5 ms, threshold 10 mV above reset and rest; rates of the continuous equation.
@pytest.mark.parametrize(
    ("drive", "rate"), [(10.5, 15.1767064712), (12.0, 24.4886828020), (20.0, 53.0139950907)]
)
def test_the_rate_is_that_of_the_f_i_curve_on_the_grid(backend, dt, drive, rate):
    passage = 20.0 * math.log(drive / (drive - 10.0))
    assert 1000 / (5.0 + passage) == pytest.approx(rate, rel=1e-10)
    neuron = sx.LIFRef(1, tau=20.0, tau_ref=5.0, V_th=10.0, spk_reset="hard")
    spikes = sx.transform.for_loop(lambda i: neuron(drive), jnp.arange(5000))
    intervals = np.diff(np.flatnonzero(spikes[:, 0]))
    steps = math.ceil(passage / dt)  # V is held for t_ref, less the step that ends with the spike
    assert set(intervals) == {steps + 49}
    assert 1000 / (intervals[0] * dt) == pytest.approx(rate, rel=0.01)


def test_defaults_start_and_reset_at_rest(dt):
    neuron = sx.LIF(3, V_rest=-60.0, V_th=-50.0)
    assert neuron.V.value.tolist() == [-60.0] * 3
    assert neuron.V_reset == -60.0
    assert neuron.spike.value.tolist() == neuron.get_spike().tolist() == [0.0] * 3
    assert list(neuron.states()) == ["V"]


def test_spike_shows_the_spikes_of_the_last_step(backend, dt):
    neuron = sx.LIFRef(2)
    given = neuron(jnp.array([1000.0, 0.0]))
    assert given.tolist() == neuron.spike.value.tolist() == neuron.get_spike().tolist() == [1, 0]
    assert neuron.get_spike(jnp.array([0.0, 1.0])).tolist() == [0, 1]


@pytest.mark.parametrize("size", [4, (2, 3), [3, 2]])
@pytest.mark.parametrize("batch", [None, 5, (2, 5)])
def test_states_have_the_shape_of_batch_and_population(backend, dt, size, batch):
    neuron = sx.LIFRef(size)
    sx.nn.init_all_states(neuron, batch_size=batch)
    lead = () if batch is None else (batch,) if isinstance(batch, int) else batch
    shape = (*lead, *(size if isinstance(size, tuple | list) else (size,)))
    assert neuron.V.value.shape == neuron.refractory.value.shape == shape
    assert neuron(1.0).shape == shape
    sx.nn.reset_all_states(neuron)
    assert neuron.V.value.shape == neuron.varshape
    assert neuron.size == math.prod(neuron.varshape)


def test_an_initialiser_draws_for_each_trial_and_each_neuron(dt):
    neuron = sx.LIF(50, V_initializer=sx.init.Uniform(-1.0, 0.0))
    sx.nn.init_all_states(neuron, batch_size=4)
    assert len(np.unique(neuron.V.value)) > 190


def test_a_batch_equals_its_trials_alone(backend, dt):
    neuron = sx.LIF(6, tau=10.0)
    inputs = jnp.asarray(np.random.default_rng(1).uniform(0, 60, (4, 6)), jnp.float32)
    sx.nn.init_all_states(neuron, batch_size=4)
    expected = neuron(inputs)
    sx.nn.init_all_states(neuron)

    def alone(x):
        sx.nn.init_all_states(neuron)
        return neuron(x)

    np.testing.assert_array_equal(jnp.stack([alone(x) for x in inputs]), expected)


def test_vmap_with_a_slice_of_the_states_each_equals_a_batch(backend, dt):
    neuron = sx.LIFRef(6, tau=10.0, tau_ref=0.3)
    inputs = jnp.asarray(np.random.default_rng(1).uniform(0, 60, (20, 4, 6)), jnp.float32)
    sx.nn.init_all_states(neuron, batch_size=4)
    expected = run(neuron, inputs)
    sx.nn.init_all_states(neuron, batch_size=4)
    mapped = sx.transform.vmap(neuron, in_states=neuron.states())
    spikes = sx.transform.for_loop(mapped, inputs)
    assert spikes.sum() > 0
    np.testing.assert_array_equal(spikes, expected[0])
    np.testing.assert_array_equal(neuron.V.value, expected[1][-1])


def test_zero_steps_give_empty_spikes(backend, dt):
    neuron = sx.LIFRef(3)
    assert run(neuron, jnp.zeros((0, 3)))[0].shape == (0, 3)


@pytest.mark.parametrize("precision", [32, 64])
def test_states_and_spikes_have_the_precision_of_the_environment(backend, precision):
    sx.environ.set(dt=0.1, precision=precision)
    neuron = sx.LIFRef(3)
    assert neuron(1.0).dtype == neuron.V.value.dtype == f"float{precision}"


# -- parameters -----------------------------------------------------------------------------------


def test_parameters_may_differ_between_neurons(backend, dt):
    tau = np.array([5.0, 10.0, 20.0])
    neuron = sx.LIF(3, tau=tau)
    neuron(0.5)
    np.testing.assert_allclose(neuron.V.value, 0.5 * -np.expm1(-0.1 / tau), rtol=1e-6)
    drawn = sx.LIF((2, 3), tau=sx.init.Uniform(5.0, 10.0))
    assert drawn.tau.shape == (2, 3)


def test_a_changed_parameter_counts_at_the_next_call(backend, dt):
    neuron = sx.LIF(1)
    step = sx.transform.jit(lambda: neuron(0.5))
    step()
    neuron.tau = 50.0
    sx.nn.init_all_states(neuron)
    step()
    np.testing.assert_allclose(neuron.V.value, 0.5 * -np.expm1(-0.1 / 50.0), rtol=1e-6)


def test_gradients_reach_learned_parameters(backend):
    sx.environ.set(dt=0.1, precision=64)
    tau, V_th = sx.ParamState(jnp.asarray(8.0)), sx.ParamState(jnp.asarray([1.0, 1.5]))
    narrow = sx.surrogate.ReluGrad(width=1e-3)  # nothing here comes near a spike
    neuron = sx.LIF(2, tau=tau, V_th=V_th, spk_fun=narrow)
    assert list(neuron.states(sx.ParamState)) == ["V_th", "tau"]

    def loss():
        sx.nn.init_all_states(neuron)
        sx.transform.for_loop(lambda i: neuron(0.9), jnp.arange(30))
        return neuron.V.value.sum()

    grads = sx.transform.grad(loss, neuron.states(sx.ParamState))()
    before, eps = float(tau.value), 1e-5
    tau.value = jnp.asarray(before + eps)
    high = float(loss())
    tau.value = jnp.asarray(before - eps)
    low = float(loss())
    assert float(grads["tau"]) == pytest.approx((high - low) / (2 * eps), rel=1e-4)
    assert np.isfinite(grads["V_th"]).all()


def test_both_backends_have_the_same_surrogate_gradient(dt):
    def gradient(name):
        with sx.backend(name):
            neuron = sx.LIF(4, tau=sx.ParamState(jnp.asarray(5.0)), spk_fun=sx.surrogate.Sigmoid())

            def loss():
                sx.nn.init_all_states(neuron)
                drive = jnp.array([10.0, 20.0, 30.0, 50.0])
                return sx.transform.for_loop(lambda i: neuron(drive), jnp.arange(50)).sum()

            return float(sx.transform.grad(loss, neuron.states(sx.ParamState))()["tau"])

    assert gradient("native") == pytest.approx(gradient("xla"), rel=1e-4)
    assert gradient("xla") != 0


def test_ones_own_spike_function_works(backend, dt):
    neuron = sx.LIF(2, spk_fun=lambda x: (x >= 0).astype(x.dtype))
    assert neuron(1000.0).tolist() == [1.0, 1.0]


# -- inputs ---------------------------------------------------------------------------------------


def test_inputs_that_were_added_count_once_and_functions_at_each_step(backend, dt):
    neuron, plain = sx.LIF(2), sx.LIF(2)
    neuron.add_current_input("once", 3.0)
    neuron.add_current_input("always", lambda V: 0.5)
    neuron.add_delta_input("jump", jnp.array([0.25, 0.0]))
    neuron(1.0)
    plain(4.5)
    np.testing.assert_allclose(neuron.V.value, plain.V.value + jnp.array([0.25, 0.0]), rtol=1e-6)
    sx.nn.init_all_states(neuron)
    sx.nn.init_all_states(plain)
    neuron()
    plain(0.5)
    np.testing.assert_allclose(neuron.V.value, plain.V.value, rtol=1e-6)


def test_a_current_that_depends_on_V_is_part_of_the_equation(backend):
    sx.environ.set(dt=0.1, precision=64)
    neuron = sx.LIF(1, tau=10.0, V_th=100.0, V_initializer=3.0)
    neuron.add_current_input("leak", lambda V: 2.0 * (8.0 - V))
    neuron()
    rate = 3.0 / 10.0  # its own leak and twice as much
    end = 16.0 / 3.0
    assert float(neuron.V.value[0]) == pytest.approx(end + (3.0 - end) * math.exp(-rate * 0.1))


def test_the_same_key_twice_in_a_step_is_an_error(dt):
    neuron = sx.LIF(1)
    neuron.add_current_input("x", 1.0)
    with pytest.raises(ValueError, match=r"already has an input 'x'.*key of its own"):
        neuron.add_current_input("x", 1.0)
    neuron.add_current_input("x", 1.0, label="other")
    assert neuron.sum_current_inputs(0.0, label="other") == 1.0
    assert neuron.sum_current_inputs(0.0) == 1.0
    assert neuron.sum_delta_inputs(5.0) == 5.0


# -- units ----------------------------------------------------------------------------------------


def test_units_change_nothing_but_the_units(backend, dt):
    plain = sx.LIFRef(3, R=2.0, tau=10.0, V_rest=-60.0, V_th=-50.0, tau_ref=1.0)
    with_units = sx.LIFRef(
        3,
        R=0.002 * u.kohm,
        tau=0.01 * u.second,
        V_rest=-60.0 * u.mV,
        V_th=-0.05 * u.volt,
        tau_ref=1.0 * u.ms,
    )
    assert with_units.carries_unit
    assert not plain.carries_unit
    inputs = jnp.linspace(0.0, 30.0, 200)
    spikes, V = run(plain, inputs)
    same, V_mV = sx.transform.for_loop(lambda x: (with_units(x * u.mA), with_units.V.value), inputs)
    assert spikes.sum() > 0
    np.testing.assert_array_equal(spikes, same)
    np.testing.assert_array_equal(V, V_mV.to_decimal(u.mV))


def test_a_plain_input_into_a_model_with_units_warns_once(dt):
    neuron = sx.LIF(1, V_th=1.0 * u.mV)
    with pytest.warns(UnitlessInputWarning, match="input current of LIF has no unit"):
        neuron(1.0)
    neuron(1.0)
    neuron(0.0)
    neuron()


def test_strict_units_refuse_a_plain_input(dt):
    neuron = sx.LIF(1, V_th=1.0 * u.mV)
    with sx.config.context(strict_units=True), pytest.raises(TypeError, match="strict_units"):
        neuron(1.0)


def test_a_wrong_dimension_is_named(dt):
    with pytest.raises(TypeError, match=r"LIF\.tau must be given in ms"):
        sx.LIF(1, tau=5.0 * u.mV)
    with pytest.raises(TypeError, match="input current of LIF must be given in mA"):
        sx.LIF(1)(5.0 * u.mV)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, r"LIFRef\.tau is 0\.0 ms; .*positive"),
        ({"tau": np.array([5.0, -1.0])}, r"LIFRef\.tau is -1\.0 ms"),
        ({"tau": math.nan}, r"LIFRef\.tau is nan"),
        ({"R": math.nan}, r"LIFRef\.R is nan ohm"),
        ({"V_rest": math.inf}, r"LIFRef\.V_rest is inf"),
        ({"V_initializer": math.nan}, r"V_initializer made NaN"),
        ({"V_th": -1.0}, r"V_th is -1\.0 mV and V_reset 0\.0 mV; .*Raise V_th"),
        ({"V_th": 1.0, "V_reset": np.array([0.0, 1.0])}, r"above the reset"),
        ({"tau_ref": -1.0}, r"tau_ref is -1\.0 ms; .*0 or longer"),
        ({"tau": np.ones(3)}, r"LIFRef\.tau: .*shape \(3,\)"),
        ({"spk_reset": "firm"}, r"'firm'.*'soft'.*'hard'"),
        ({"spk_fun": sx.surrogate.ReluGrad}, r"make one"),
        ({"spk_fun": "relu"}, r"no spike function"),
    ],
)
def test_bad_arguments_are_refused_when_a_neuron_is_made(dt, arguments, message):
    with pytest.raises(ValueError, match=message):
        sx.LIFRef(2, **arguments)


@pytest.mark.parametrize("size", [0, -3, (4, 0), ()])
def test_no_neurons_are_refused(dt, size):
    with pytest.raises(ValueError, match=r"no elements; every axis needs 1 or more"):
        sx.LIF(size)


def test_a_size_that_is_no_number_is_refused(dt):
    with pytest.raises(TypeError, match="must be a number of elements"):
        sx.LIF(2.5)


def test_neurons_pickle(backend, dt):
    neuron = sx.LIFRef(3, V_rest=-60.0 * u.mV, V_th=-50.0 * u.mV, spk_fun=sx.surrogate.Arctan())
    neuron(30.0 * u.mA)
    neuron.add_current_input("waiting", 1.0)
    twin = pickle.loads(pickle.dumps(neuron))
    neuron._current.clear()
    assert twin(30.0 * u.mA).tolist() == neuron(30.0 * u.mA).tolist()
    np.testing.assert_array_equal(twin.V.value.mantissa, neuron.V.value.mantissa)
