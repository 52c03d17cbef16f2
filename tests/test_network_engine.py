"""Networks with delays, Poisson inputs and NEST's neurons: the engine is the loop, bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.init import Uniform
from spikexla.ops import library


class Net(sx.nn.Module):
    """Two populations of IafPscExp with everything that the engine knows beside COBA."""

    def __init__(self, delay, drive=True, n=(2100, 700)):
        super().__init__()
        starts = [Uniform(-65.0, -54.0)(k, key=jax.random.key(k)) for k in n]
        self.E, self.I = (
            sx.IafPscExp(k, V_initializer=V, I_e=200.0) for k, V in zip(n, starts, strict=True)
        )
        rng, projections = np.random.default_rng(1), []
        for j, pre in enumerate((self.E, self.I)):
            for post in (self.E, self.I):
                comm = sx.EventFixedProb(pre.size, post.size, 0.02, 1.0, seed=len(projections))
                shape = comm.conn.indices.shape
                weights = np.float32(60.0 if j == 0 else -240.0) * rng.uniform(0.8, 1.2, shape)
                comm.weight.value = jnp.asarray(weights, jnp.float32)
                its = {"one": 1.5, "synapse": rng.uniform(0.1, 3.0, shape), "none": None}[delay]
                projections.append(
                    sx.AlignPostProj(comm=comm, delay=its, **post.receptor(0.5 if j == 0 else 0.8))
                )
        self.projections = projections
        self.noise = [
            sx.PoissonInput(rate=8.0, num=900, weight=60.0, seed=k, **p.receptor(0.5))
            for k, p in enumerate((self.E, self.I) if drive else ())
        ]
        self.part = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(300, n[1], 20, 30.0, seed=9),
            delay=0.7,
            **self.I.receptor(0.5),
        )

    def update(self):
        spikes = [self.E.get_spike() != 0, self.I.get_spike() != 0]
        for k, projection in enumerate(self.projections):
            projection(spikes[k // 2])
        self.part(spikes[0][100:400])
        for noise in self.noise:
            noise()
        self.E()
        self.I()


class Stepped(Net):
    """The same network, which the engine does not recognise: kernels of one step, in a loop."""

    def update(self):
        super().update()
        return self.E.V.value


@pytest.fixture(autouse=True)
def setting():
    sx.environ.set(dt=0.1)
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


def run(net, steps, **how):
    result = sx.simulate(net, steps * 0.1, **how)
    return result, {str(k): np.asarray(s.value) for k, s in net.states().items()}


DELAYS = ["none", "one", "synapse"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("delay", DELAYS)
def test_the_engine_is_the_loop(delay):
    (engine, after), (loop, want) = (run(kind(delay), 300) for kind in (Net, Stepped))
    assert (engine.path, loop.path) == ("network_run", "for_loop"), engine.why
    assert min(len(s) for s in engine.spikes.values()) > 100
    for name in engine.spikes:
        np.testing.assert_array_equal(engine.spikes[name].ids, loop.spikes[name].ids)
        np.testing.assert_array_equal(engine.spikes[name].steps, loop.spikes[name].steps)
    for name in want:
        np.testing.assert_array_equal(after[name], want[name], err_msg=name)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("delay", DELAYS)
def test_threads_chunks_and_stops_change_no_bit(delay, setting):
    whole, want = run(Net(delay), 200)
    for threads, chunk in ((1, 200), (2, 7), (3, 50), (7, 33)):
        setting(threads)
        cut, after = run(Net(delay), 200, chunk=chunk * 0.1)
        assert cut.path == "network_run", cut.why
        for name in want:
            np.testing.assert_array_equal(after[name], want[name], err_msg=name)
    net = Net(delay)
    parts = [run(net, n)[0] for n in (60, 140)]
    for name, spikes in whole.spikes.items():
        steps = np.concatenate([parts[0].spikes[name].steps, parts[1].spikes[name].steps + 60])
        np.testing.assert_array_equal(steps, spikes.steps)
        ids = np.concatenate([p.spikes[name].ids for p in parts])
        np.testing.assert_array_equal(ids, spikes.ids)
    for name, state in net.states().items():
        np.testing.assert_array_equal(state.value, want[str(name)])


def test_projections_that_remember_differently_are_stepped_in_a_loop():
    net = Net("one")
    run(net, 50)
    history = net.projections[0].history
    history.value = history.value.at[0].set(0xFFFF)
    result, _ = run(net, 5)
    assert result.path == "for_loop"
    assert result.why.startswith("projections.1 remembers other spikes")


def test_new_weights_are_seen():
    """The synapses of the last run are kept, but not if a weight has changed since."""
    net = Net("one")
    run(net, 100)
    net.projections[0].comm.weight.value = net.projections[0].comm.weight.value * 3
    sx.nn.reset_all_states(net)
    after = run(net, 100)[1]
    fresh = Net("one")
    fresh.projections[0].comm.weight.value = fresh.projections[0].comm.weight.value * 3
    for name, value in run(fresh, 100)[1].items():
        np.testing.assert_array_equal(after[name], value)


def test_each_device_has_its_own_program_and_synapses():
    results = []
    for device in jax.devices():
        with jax.default_device(device):
            net = Net("one", n=(700, 300))
            results.append(run(net, 20)[1])
        assert all(s.value.devices() == {device} for s in net.states().values())
    assert len(results) == 2
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)
