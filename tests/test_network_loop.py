"""The compiled loop of simulate: trials side by side, programs that are kept, other devices."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.network import loop, statistics

R = sx.record


class Own(sx.nn.Module):
    """Neurons and a State of one's own."""

    def __init__(self, n=5):
        super().__init__()
        self.n, self.gain = sx.LIF(n, tau=5.0, V_th=0.6, spk_reset="hard"), 1.0
        self.sum = sx.ShortTermState(jnp.zeros(n))

    def update(self, x=30.0):
        spikes = self.n(x * self.gain)
        self.sum.value = self.sum.value + spikes
        return spikes


# -- trials ---------------------------------------------------------------------------------------

STEPS, EVERY, BIN, CHOSEN = 23, 4, 5, [3, 0]
BATCHES = [(), 1, 3, (2, 3), 0]
RECORD = {"n": [R.Spikes(), R.Rates(BIN * 0.1), R.Trace("V", CHOSEN, EVERY)]}


def driven(batch):
    """A network with this batch, and an input that differs from trial to trial."""
    net = Own()
    sx.nn.init_all_states(net, batch_size=batch if batch != () else None)
    net.sum.value = jnp.zeros(net.n.V.value.shape)
    lead = net.n.V.value.shape[:-1]
    return net, lead, 10.0 + 7.0 * np.arange(math.prod(lead) * 5).reshape(*lead, 5)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("batch", "chunk"), [*((batch, 0.9) for batch in BATCHES), (3, 9.0)], ids=str
)
def test_trials_side_by_side_are_those_of_a_loop_by_hand(batch, chunk, dt):
    net, lead, x = driven(batch)
    hand = driven(batch)[0]

    def step():
        return hand(x), hand.n.V.value

    spikes, V = map(np.asarray, sx.transform.for_loop(step, length=STEPS))
    run = sx.simulate(net, STEPS * 0.1, inputs=(x,), record=RECORD, chunk=chunk)
    trace, train, rates = run.traces["n", "V"], run.spikes["n"], run.rates["n"]
    np.testing.assert_array_equal(trace.values, V[EVERY - 1 :: EVERY][..., CHOSEN])
    assert trace.values.shape == (STEPS // EVERY, *lead, 2)
    when, *where = np.nonzero(spikes.reshape(STEPS, -1, 5) if lead else spikes)
    assert len(train) or 0 in lead
    np.testing.assert_array_equal(train.steps, when)
    np.testing.assert_array_equal(train.ids, where[-1])
    assert (train.trials is None) == (not lead)
    for k in range(math.prod(lead) if lead else 0):
        one = train.of_trial(k)
        np.testing.assert_array_equal(train.trials[where[0] == k], k)
        np.testing.assert_array_equal(one.ids, where[1][where[0] == k])
        np.testing.assert_allclose(one.times_ms, 0.1 * (when[where[0] == k] + 1))
    counts = [spikes[k : k + BIN].sum((0, -1)) for k in range(0, STEPS, BIN)]
    width = np.minimum(BIN, STEPS - np.arange(0, STEPS, BIN)).reshape(-1, *[1] * len(lead))
    np.testing.assert_allclose(rates.hz, np.array(counts) / 5 / (width * 1e-4))
    np.testing.assert_allclose(run.rates_hz["n"], spikes.sum((0, -1)) / 5 / (STEPS * 1e-4))
    assert isinstance(run.rates_hz["n"], np.ndarray if lead else float)


@pytest.mark.parametrize("shape", [(), (5,), (3, 1), (3, 5), (1, 5)], ids=str)
def test_inputs_may_have_the_batch_of_the_neurons(shape, dt):
    """Also where the network is one that the engine runs without a batch."""
    neurons, hand = sx.LIF(5), sx.LIF(5)
    for made in (neurons, hand):
        sx.nn.init_all_states(made, batch_size=3)
    x = np.linspace(1.0, 9.0, math.prod(shape)).reshape(shape)
    run = sx.simulate(neurons, 0.3, inputs=(x,), record=False)
    assert "batch axis" in run.why
    for _ in range(3):
        hand(x)
    np.testing.assert_allclose(neurons.V.value, hand.V.value, rtol=1e-6)


REFUSED = {
    "an input": (
        lambda net, run, path: sx.simulate(net.n, 1.0, inputs=(np.ones(4),)),
        r"broadcast to one shape of lanes: V \(3, 5\), I \(4,\)",
    ),
    "a file": (lambda net, run, path: sx.simulate(net, 1.0, to=path), r"batch axis of \(3,\)"),
    "a sink": (lambda net, run, path: sx.simulate(net, 1.0, to=Nothing()), r"batch axis of \(3,\)"),
    "a neuron of another trial": (
        lambda net, run, path: sx.simulate(net, 1.0, record=R.Trace("V", [5])),
        r"5 elements in each trial of \(3,\), 0 to 4",
    ),
    "neo": (lambda net, run, path: run.to_neo(), r"to_neo: .* \(3,\) trials"),
    "rates": (lambda net, run, path: statistics.firing_rates(run.spikes["n"], 1), "of_trial"),
    "intervals": (lambda net, run, path: statistics.cv_isi(run.spikes["n"]), "of_trial"),
    "pairs": (lambda net, run, path: statistics.correlations(run.spikes["n"], 9), "of_trial"),
    "no trial": (lambda net, run, path: run.spikes["n"].of_trial(3), "from 0 to 2"),
    "one trial": (lambda net, run, path: run.spikes["n"].of_trial(0).of_trial(0), "one trial"),
}


class Nothing(sx.network.Sink):
    def append(self, trains, until_ms):
        raise AssertionError


@pytest.fixture(scope="module")
def three_trials():
    with sx.environ.context(dt=0.1):
        net = driven(3)[0]
        return net, sx.simulate(net, 0.3, record=[R.Spikes(), R.Rates(), R.Trace()])


@pytest.mark.parametrize("case", REFUSED)
def test_what_trials_cannot_be_is_said(case, three_trials, dt, tmp_path):
    act, message = REFUSED[case]
    if case == "neo":
        pytest.importorskip("neo", reason="neo is not installed: no export")
    with pytest.raises(ValueError, match=message):
        act(*three_trials, tmp_path / "spikes.h5")
    assert list(tmp_path.iterdir()) == []


# -- programs that are kept -----------------------------------------------------------------------


@pytest.fixture
def traces(monkeypatch):
    """Grows with every trace of a loop that records spikes."""
    made, pack = [], loop.pack_bits
    monkeypatch.setattr(loop, "pack_bits", lambda x: made.append(x.shape) or pack(x))
    return made


def test_the_loop_is_traced_once_and_again_for_what_has_changed(dt, traces):
    net, runs = Own(), []

    def traced(**how):
        before = len(traces)
        runs.append(sx.simulate(net, 1.0, backend="xla", record=R.Rates(), **how))
        return len(traces) > before

    assert [traced() for _ in range(4)] == [True, False, False, False]
    assert max(run.compile_s for run in runs[1:]) < runs[0].compile_s / 3
    assert [traced(inputs=(x,)) for x in (31.0, 31.0, 30.0)] == [True, False, True]
    assert [traced(chunk=0.3), traced(chunk=0.3)] == [True, False]  # and a rest of one step
    sx.nn.init_all_states(net)
    assert not traced()
    net.gain = 0.0
    assert traced()
    assert (runs[-1].rates_hz["n"], runs[-2].rates_hz["n"] > 0) == (0.0, True)
    net.gain = 1.0
    with sx.environ.context(dt=0.05):
        assert traced()


def test_other_arrays_are_data_of_the_same_program(dt, traces):
    net, rates, made = Own(), [], []
    for x in map(jnp.asarray, np.float32([[30.0] * 5, [0.0] * 5, [30.0] * 5])):
        sx.nn.init_all_states(net)
        rates.append(sx.simulate(net, 1.0, inputs=(x,), backend="xla").rates_hz["n"])
        made.append(len(traces))
    assert made == made[:1] * 3
    assert rates[0] == rates[2] > rates[1] == 0.0


class Looks(Own):
    """An `update` that computes with the numbers of its input, in Python."""

    def update(self, x):
        return super().update(30.0 if np.asarray(x).sum() > 0 else 0.0)


def test_an_update_may_look_at_the_numbers_of_its_input(dt):
    for x, fires in ((jnp.ones(5), True), (jnp.zeros(5), False)):
        run = sx.simulate(Looks(), 1.0, inputs=(x,), backend="xla")
        assert (run.rates_hz["n"] > 0) == fires


def test_a_loop_that_is_not_kept_is_compiled_once_a_call(dt, monkeypatch, traces):
    monkeypatch.setattr(sx.config, "cache_eager", False)
    net, seen = Own(), []
    for _ in range(2):
        sx.simulate(net, 1.0, backend="xla", chunk=0.2)
        seen.append(len(traces))
    assert 0 < seen[1] == 2 * seen[0] < 20


# -- other devices --------------------------------------------------------------------------------


def bound(net, device):
    for state in net.states().values():
        state.value = jax.device_put(state.value, device)
    return net


@pytest.mark.parametrize("path", ["network_run", "for_loop"])
def test_a_run_takes_place_where_the_states_are(path, dt):
    here, there = jax.devices()[:2]
    results = []
    for device in (None, there):
        net = sx.COBANet(200, seed=1) if path == "network_run" else Own()
        if device is not None:
            bound(net, device)
        for _ in range(2):  # it goes on there
            run = sx.simulate(net, 3.0, chunk=2.0)
            assert run.path == path
            results.append([(s.steps.tolist(), s.ids.tolist()) for s in run.spikes.values()])
            arrays = [x for s in net.states().values() for x in jax.tree.leaves(s.value)]
            assert {x.devices().pop() for x in arrays} == {device or here}
            assert {x.committed for x in arrays} == {device is not None}
    assert results[:2] == results[2:]
    assert results[0][0][1]


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_states_on_two_devices_are_named(backend, dt):
    here, there = jax.devices()[:2]
    net = bound(sx.COBANet(200, seed=1), here)
    net.N.V.value = jax.device_put(net.N.V.value, there)
    with pytest.raises(
        ValueError, match=r"E\.comm\.weight is on .*0, but N\.V is on .*1\..*device_put"
    ):
        sx.simulate(net, 1.0, backend=backend)
    x = jax.device_put(jnp.ones(3), there)
    with pytest.raises(ValueError, match=r"V is on .* but inputs\[0\] is on"):
        sx.simulate(bound(sx.LIF(3), here), 1.0, inputs=(x,), backend=backend)
    neurons = sx.LIF(3)
    sx.simulate(neurons, 1.0, inputs=(x,), backend=backend)
    assert neurons.V.value.devices() == {there}


def test_states_that_are_spread_run_in_the_loop(dt):
    mesh = jax.make_mesh((2,), ("n",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("n"))
    net, same = (sx.LIF(6, tau=5.0, V_th=0.6) for _ in range(2))
    net.V.value = jax.device_put(net.V.value, spread)
    run, want = (sx.simulate(m, 2.0, inputs=(30.0,), backend="native") for m in (net, same))
    assert "spread over 2 devices" in run.why
    assert run.spikes[""].ids.tolist() == want.spikes[""].ids.tolist() != []
    assert len(net.V.value.devices()) == 2
