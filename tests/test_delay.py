"""Delays of projections: the step of arrival, the order of sums, the shift register, errors."""

from __future__ import annotations

import pickle

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.comm import EventComm
from spikexla.connect import CSR
from spikexla.ops.raster import pack_bits, spikes_of
from spikexla.ops.wiring import MOST_DELAY

STEPS, PRE, POST = 60, 70, 9
SPIKES = np.random.default_rng(1).random((STEPS, PRE)) < 0.1
RNG = np.random.default_rng(2)
WEIGHTS = RNG.normal(size=(PRE, 5)).astype(np.float32)
SOURCES = RNG.integers(0, 6, PRE) * 0.2
SYNAPSES = RNG.integers(0, 6, (PRE, 5)) * 0.2


def fan():
    return sx.EventFixedNumConn(PRE, POST, 5, WEIGHTS, seed=3)


def rows():
    """The same synapses as compressed rows."""
    conn = fan().conn
    indptr = np.arange(PRE + 1, dtype=np.int32) * 5
    return EventComm(PRE, POST, CSR(indptr, conn.indices.reshape(-1), POST), WEIGHTS.reshape(-1))


def onto(comm, delay, **kwargs):
    return sx.AlignPostProj(
        comm=comm,
        syn=sx.Expon.desc(POST, tau=5.0),
        out=sx.CUBA.desc(),
        post=sx.LIF(POST),
        delay=delay,
        **kwargs,
    )


def path(projection, spikes=SPIKES):
    """g after each step."""

    def step(s):
        projection(s)
        projection.post()
        return projection.syn.g.value

    return np.asarray(sx.transform.for_loop(step, jnp.asarray(spikes)))


def expected(steps):
    """The same by float32 sums in the promised order; steps: (PRE, 5)."""
    targets, g, out = np.asarray(fan().conn.indices), np.zeros(POST, np.float32), []
    decay = np.float32(np.exp(-0.1 / 5.0))
    for n in range(STEPS):
        g = g * decay
        for k in np.unique(steps):
            for i in np.flatnonzero(SPIKES[n - k]) if n >= k else ():
                for j in np.flatnonzero(steps[i] == k):
                    g[targets[i, j]] += WEIGHTS[i, j]
        out.append(g.copy())
    return np.array(out)


DELAYS = {
    "none": (None, 0),
    "zero": (0.0, 0),
    "one for all": (1.3, 13),
    "nearest step": (0.36 * u.ms, 4),
    "one a source": (SOURCES, np.rint(SOURCES * 10)[:, None]),
    "one a synapse": (SYNAPSES, np.rint(SYNAPSES * 10)),
    "all alike": (np.full(PRE, 0.7), 7),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("make", [fan, rows])
@pytest.mark.parametrize("delay", DELAYS)
def test_each_spike_acts_k_steps_later_in_the_promised_order(dt, delay, make):
    given, steps = DELAYS[delay]
    if make is rows and np.shape(given) == (PRE, 5):
        given = given.reshape(-1)
    want = expected(np.broadcast_to(np.asarray(steps, int), (PRE, 5)))
    with sx.backend("native"):
        projection = onto(make(), given)
        np.testing.assert_array_equal(path(projection), want)
    with sx.backend("xla"):
        np.testing.assert_allclose(path(onto(make(), given)), want, rtol=1e-4, atol=1e-5)
    found = projection.delay_steps(0.1)
    assert np.issubdtype(found.dtype, np.integer)
    np.testing.assert_array_equal(np.unique(found), np.unique(steps))
    assert hasattr(projection, "history") is bool(np.max(steps) > 0)


def shifted(k):
    late = np.zeros_like(SPIKES)
    late[k:] = SPIKES[: STEPS - k]
    return late


def delta(delay):
    return sx.DeltaProj(comm=fan(), post=sx.LIF(POST), delay=delay)


def current(delay):
    return sx.CurrentProj(comm=fan(), out=sx.CUBA(), post=sx.LIF(POST), delay=delay)


def function(delay):
    comm = sx.Linear(PRE, POST, w_init=0.1, b_init=None)
    return sx.CurrentProj(comm=comm, out=sx.CUBA(), post=sx.LIF(POST), delay=delay)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("make", [delta, current, function, lambda d: onto(fan(), d)])
@pytest.mark.parametrize("k", [1, 31, 32, 45])
def test_a_delay_of_k_steps_shifts_the_input_by_k(dt, make, k):
    def potentials(projection, spikes):
        def step(s):
            projection(s)
            projection.post(0.5)
            return projection.post.V.value

        return sx.transform.for_loop(step, jnp.asarray(spikes))

    late = potentials(make(k * 0.1), SPIKES)
    np.testing.assert_array_equal(late, potentials(make(None), shifted(k)))


@pytest.mark.parametrize("make", [delta, current])
def test_delays_of_each_source_reach_neurons_and_currents(dt, make):
    sx.environ.set(precision=64)
    projection = make(SOURCES)
    projection.post.V_th = 1e6

    def step(s):
        projection(s)
        projection.post()
        return projection.post.V.value

    found = sx.transform.for_loop(step, jnp.asarray(SPIKES))
    dense = np.zeros((PRE, POST))
    np.add.at(dense, (np.arange(PRE)[:, None], np.asarray(fan().conn.indices)), WEIGHTS)
    late, steps, V = np.zeros_like(SPIKES), np.rint(SOURCES * 10).astype(int), np.zeros(POST)
    for i, k in enumerate(steps):
        late[k:, i] = SPIKES[: STEPS - k, i]
    gain = -np.expm1(-0.1 / 5.0)
    for n in range(STEPS):
        given = late[n] @ dense
        V = V - gain * V + (given if make is delta else gain * given)
        np.testing.assert_allclose(found[n], V, rtol=1e-9, atol=1e-12)


def test_projections_add_by_delay_then_in_the_order_of_their_calls(dt):
    big, small = np.float32(1e8), np.float32(3.0)

    def total(delays, calls):
        neurons, projections = sx.LIF(1), []
        for weight, delay in zip((big, small, -big), delays, strict=True):
            projections.append(
                sx.AlignPostProj(
                    comm=sx.EventFixedProb(1, 1, 1.0, weight, seed=0),
                    syn=sx.Expon.desc(1, tau=1e12),
                    out=sx.CUBA.desc(),
                    post=neurons,
                    delay=delay,
                )
            )
        for n in range(3):
            for k in calls:  # all arrive in the last step
                steps = int(projections[k].delay_steps(0.1))
                projections[k](jnp.array([n == 2 - steps]))
            neurons()
        return float(projections[0].syn.g.value[0])

    together = float((big + small) - big)
    assert together != float(small)
    assert total((0.0, 0.1, 0.2), (2, 1, 0)) == together
    assert total((0.0, 0.2, 0.1), (0, 1, 2)) == float(small)
    assert total((0.1, 0.1, 0.1), (0, 1, 2)) == together
    assert total((0.1, 0.1, 0.1), (0, 2, 1)) == float(small)


# -- the shift register ---------------------------------------------------------------------------


def test_history_holds_the_spikes_of_the_last_calls_as_bits(dt):
    projection = onto(fan(), np.where(np.arange(PRE) == 3, 0.5, 0.2))
    path(projection, SPIKES[:20])
    assert projection.history.value.shape == (5, 3)
    assert projection.history.value.dtype == jnp.uint32
    for j in range(5):
        row = np.asarray(projection.history.value[j])
        bits = [(int(row[i // 32]) >> i % 32) & 1 for i in range(96)]
        np.testing.assert_array_equal(bits[:PRE], SPIKES[19 - j])
        assert not any(bits[PRE:])
    np.testing.assert_array_equal(spikes_of(pack_bits(jnp.asarray(SPIKES)), PRE), SPIKES)


@pytest.mark.parametrize("delay", [1.3, SOURCES, SYNAPSES])
def test_a_run_in_two_parts_is_the_run(dt, delay):
    whole = path(onto(fan(), delay))
    projection = onto(fan(), delay)
    first = path(projection, SPIKES[:23])
    projection = pickle.loads(pickle.dumps(projection))
    np.testing.assert_array_equal(np.concatenate([first, path(projection, SPIKES[23:])]), whole)


@pytest.mark.parametrize("batch", [None, 2, (2, 3)])
def test_a_reset_empties_it_and_a_batch_repeats_it(dt, batch):
    projection = onto(fan(), SOURCES)
    net = sx.nn.Sequential(projection, projection.post)
    once = path(projection)
    history = projection.history
    lead = () if batch is None else (batch,) if isinstance(batch, int) else batch
    for start in (sx.nn.init_all_states, sx.nn.reset_all_states):
        start(net, batch_size=batch)
        assert projection.history is history
        assert history.value.shape == (*lead, 10, 3)
        assert not history.value.any()
        spikes = np.broadcast_to(
            SPIKES.reshape(STEPS, *(1 for _ in lead), PRE), (STEPS, *lead, PRE)
        )
        again = path(projection, spikes)
        every = once.reshape(STEPS, *(1 for _ in lead), POST)
        np.testing.assert_array_equal(again, np.broadcast_to(every, (STEPS, *lead, POST)))


def test_compiled_steps_and_single_ones_agree(dt):
    loop, projection = path(onto(fan(), SYNAPSES)), onto(fan(), SYNAPSES)

    @sx.transform.jit
    def step(s):
        projection(s)
        projection.post()
        return projection.syn.g.value

    np.testing.assert_array_equal([step(jnp.asarray(s)) for s in SPIKES[:50]], loop[:50])


def test_populations_with_several_axes_are_delayed(dt):
    comm = sx.EventFixedProb((7, 10), (3, 3), 0.3, 0.5, seed=0)
    flat = EventComm(PRE, POST, comm.conn, 0.5)
    grid = sx.AlignPostProj(
        comm=comm,
        syn=sx.Expon.desc((3, 3), tau=5.0),
        out=sx.CUBA.desc(),
        post=sx.LIF((3, 3)),
        delay=SOURCES,
    )
    found = path(grid, SPIKES.reshape(STEPS, 7, 10))
    np.testing.assert_array_equal(found.reshape(STEPS, POST), path(onto(flat, SOURCES)))


class Late(EventComm):
    """A connection that brings its delays."""

    @property
    def delay(self):
        return SYNAPSES * u.ms


def test_a_connection_may_bring_its_delays(dt):
    comm = Late(PRE, POST, fan().conn, WEIGHTS)
    np.testing.assert_array_equal(path(onto(comm, None)), path(onto(fan(), SYNAPSES)))
    np.testing.assert_array_equal(path(onto(comm, 0.4)), path(onto(fan(), 0.4)))


def test_dt_may_be_set_after_building():
    projection = onto(fan(), SOURCES)
    assert not hasattr(projection, "history")
    sx.environ.set(dt=0.1)
    with pytest.raises(ValueError, match=r"started with another dt.*init_all_states"):
        path(projection)
    sx.nn.init_all_states(projection)
    late = path(projection)
    sx.environ.set(dt=0.2)
    with pytest.raises(ValueError, match="started with another dt"):
        path(projection)
    sx.nn.init_all_states(projection)
    assert projection.history.value.shape == (5, 3)
    assert (path(projection) != late).any()


# -- gradients ------------------------------------------------------------------------------------


def test_gradients_reach_weights_through_events(dt):
    def gradient(projection, spikes):
        def loss():
            sx.nn.init_all_states(projection)
            sx.nn.init_all_states(projection.post)
            return (path_of(projection, spikes) ** 2).sum()

        (found,) = sx.transform.grad(loss, projection.comm.states(sx.ParamState))().values()
        return found

    late = gradient(onto(fan(), 1.3), SPIKES)
    np.testing.assert_allclose(late, gradient(onto(fan(), None), shifted(13)), rtol=1e-5, atol=1e-6)
    assert (np.asarray(late) != 0).any()
    several = gradient(onto(fan(), SYNAPSES), SPIKES)
    assert np.isfinite(several).all()


def path_of(projection, spikes):
    def step(s):
        projection(s)
        projection.post()
        return projection.syn.g.value

    return sx.transform.for_loop(step, jnp.asarray(spikes))


@pytest.mark.parametrize("derivative", [sx.transform.grad, sx.transform.jacfwd])
def test_a_gradient_in_the_spikes_is_refused_with_the_way_out(dt, derivative):
    projection = onto(fan(), 0.3)
    drive = sx.ParamState(jnp.ones(PRE))

    def loss():
        return path_of(projection, SPIKES[:5] * drive.value).sum()

    with pytest.raises(TypeError, match="differentiable_delay=True"):
        derivative(loss, drive)()


@pytest.mark.parametrize("delay", [0.3, SOURCES, SYNAPSES])
def test_a_differentiable_delay_passes_gradients_and_the_same_values(dt, delay):
    drive = sx.ParamState(jnp.ones(PRE))
    projection = onto(fan(), delay, differentiable_delay=True)
    bits = path(onto(fan(), delay))
    np.testing.assert_array_equal(path(projection), bits)

    def loss():
        sx.nn.init_all_states(projection)
        sx.nn.init_all_states(projection.post)
        return path_of(projection, SPIKES[:50] * drive.value).sum()

    gradient = sx.transform.grad(loss, drive)()
    np.testing.assert_allclose(gradient.sum(), bits[:50].sum(), rtol=1e-3)  # linear in the drive


# -- the engine, bad input ------------------------------------------------------------------------


class Net(sx.nn.Module):
    """Neurons that feed themselves later."""

    def __init__(self, delay):
        super().__init__()
        self.N = sx.LIF(POST)
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedProb(POST, POST, 0.5, 0.5, seed=0),
            syn=sx.Expon.desc(POST, tau=5.0),
            out=sx.CUBA.desc(),
            post=self.N,
            delay=delay,
        )

    def update(self):
        self.P(self.N.get_spike() != 0)
        return self.N(1.5)


def test_simulate_steps_delayed_projections_and_says_how(dt):
    run = sx.simulate(Net(1.5), 30.0)
    assert len(run.spikes["N"]) > 0
    if run.path == "for_loop":
        assert "delays" in run.why
    assert sx.simulate(Net(0.0), 5.0).path == "network_run"


@pytest.mark.parametrize(
    ("delay", "error", "message"),
    [
        (-0.1, ValueError, r"delay is -0\.1 ms; it must be 0 or longer"),
        (np.nan, ValueError, "delay is nan ms"),
        (np.inf, ValueError, "delay is inf ms"),
        (np.where(np.arange(PRE) == 5, -2.0, 1.0), ValueError, r"delay is -2\.0 ms"),
        ((MOST_DELAY + 1) * 0.1, ValueError, r"1024 steps of 0\.1 ms, but at most 1023"),
        (np.ones(3), ValueError, r"shape \(3,\).*one number.*\(70,\).*\(70, 5\)"),
        ("soon", TypeError, "delay='soon' must be a time"),
        (1.0 * u.mV, TypeError, "delay must be given in ms"),
    ],
)
def test_bad_delays_are_refused(dt, delay, error, message):
    with pytest.raises(error, match=message):
        onto(fan(), delay)


def test_the_longest_delay_is_allowed(dt):
    assert onto(fan(), MOST_DELAY * 0.1).history.value.shape == (MOST_DELAY, 3)


def test_what_cannot_be_delayed_is_refused(dt):
    neurons = sx.LIF(POST)
    dense = sx.Linear(PRE, POST)
    with pytest.raises(TypeError, match="no sparse synapses"):
        sx.DeltaProj(comm=dense, post=neurons, delay=SOURCES)
    with pytest.raises(TypeError, match="has no in_size"):
        sx.DeltaProj(comm=abs, post=neurons, delay=1.0)
    with pytest.raises(TypeError, match="modules may make any number"):
        sx.DeltaProj(abs, comm=dense, post=neurons, delay=1.0)
    projection = onto(fan(), 1.0)
    with pytest.raises(ValueError, match=r"spikes have shape \(3,\).*in_size \(70,\)"):
        projection(jnp.ones(3))
    with pytest.raises(ValueError, match=r"batch_size=\(2,\)"):
        projection(jnp.ones((2, PRE)))
    projection(jnp.ones(PRE))
    with pytest.raises(ValueError, match="already has an input"):
        projection(jnp.ones(PRE))
