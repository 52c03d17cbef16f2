"""What is delivered is recorded: also the spikes of neurons that start above their threshold."""

from __future__ import annotations

import numpy as np
import pytest
import spikexla as sx
from spikexla.network import engine
from spikexla.ops.network_run import NETWORK_RUN

N = 40


class Net(sx.nn.Module):
    """Each neuron of A sends what it fires to one of B, whose g keeps count: it does not decay."""

    def __init__(self, make, delay, batch):
        super().__init__()
        self.A = make()
        self.B = sx.LIF(N, V_th=1e30)
        to = {"syn": sx.Expon.desc(N, tau=1e30), "out": sx.CUBA.desc(scale=0.0), "post": self.B}
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(N, N, 1, 1.0, seed=1), delay=delay, **to
        )
        if batch:
            sx.nn.init_all_states(self, batch_size=batch)

    def update(self):
        self.P(self.A.get_spike())
        self.A()
        self.B()


def spread(shape):
    """Half of the neurons start above the threshold of 1, some far above."""
    return np.linspace(-1, 3.5, int(np.prod(shape))).reshape(shape)


NEURONS = {
    "soft": lambda: sx.LIF(N, V_initializer=spread),
    "hard": lambda: sx.LIF(N, V_initializer=spread, spk_reset="hard"),
    "refractory": lambda: sx.LIFRef(N, tau_ref=0.3, V_initializer=spread),
    "exact": lambda: sx.IafPscExp(N, V_initializer=lambda shape: -57 + 2 * spread(shape)),
}
STEPS = 20  # all fall silent well before


def check(net, results):
    """Each target has counted what the record has of its source; returns the spikes of each."""
    recorded = np.zeros(net.A.V.value.shape, int)
    for result in results:
        spikes = result.spikes["A"]
        where = (spikes.ids,) if spikes.trials is None else (spikes.trials, spikes.ids)
        np.add.at(recorded, where, 1)
        order = np.lexsort((*where[::-1], spikes.steps))
        assert (np.diff(order) > 0).all()
    target = np.asarray(net.P.comm.conn.indices).reshape(-1)
    got = np.asarray(net.P.syn.g.value)
    want = np.zeros(got.shape, int)
    np.add.at(want, (..., target), recorded)
    np.testing.assert_array_equal(got, want)
    return recorded


@pytest.mark.sampled(5)
@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize(
    ("delay", "batch", "backend"),
    [(None, None, "native"), (0.4, None, "native"), (None, 2, "xla")],
)
def test_what_is_delivered_is_recorded(kind, delay, batch, backend, dt):
    net = Net(NEURONS[kind], delay, batch)
    above = np.asarray(net.A.get_spike()) != 0
    assert 0.3 < above.mean() < 0.7
    results = [sx.simulate(net, STEPS * dt, backend=backend, chunk=0.5) for _ in range(2)]
    assert results[0].path == ("network_run" if backend == "native" else "for_loop")
    recorded = check(net, results)
    assert (recorded[above] > 0).all()
    assert len(results[1].spikes["A"]) == 0
    first = results[0].spikes["A"]
    assert {*np.flatnonzero(above.reshape(-1, N)[0])} <= {*first.ids[first.steps == 0]}
    assert results[0].rates_hz["A"] == pytest.approx(recorded.mean(-1) / (STEPS * dt * 1e-3))
    sx.nn.init_all_states(net, batch_size=batch)  # a new start is recorded anew
    check(net, [sx.simulate(net, STEPS * dt, backend=backend)])


def test_cuda_records_it_too(dt, instead):
    def spikes():
        engine._compiled.cache_clear()  # its programs name the kernels of one platform
        net = Net(NEURONS["soft"], None, None)
        check(net, [result := sx.simulate(net, STEPS * dt)])
        return result.spikes["A"]

    want = spikes()
    with instead() as calls:
        got = spikes()
    engine._compiled.cache_clear()
    assert NETWORK_RUN in calls
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.steps, want.steps)


def test_a_run_that_goes_on_records_no_spike_twice(dt):
    """The spikes of its last step are in the States with which the next run begins."""

    def make():
        return sx.LIF(N, tau=5.0, V_initializer=spread)

    class Driven(Net):
        def update(self):
            self.P(self.A.get_spike())
            self.A(2.0)
            self.B()

    nets = [Driven(make, None, None) for _ in range(2)]
    whole = sx.simulate(nets[0], 6.0).spikes["A"]
    cut = [sx.simulate(nets[1], t).spikes["A"] for t in (0.1, 1.9, 4.0)]
    for name in ("ids", "times_ms"):
        parts = np.concatenate([getattr(spikes, name) for spikes in cut])
        np.testing.assert_allclose(parts, getattr(whole, name))


def test_files_and_rates_have_it_too(dt, tmp_path):
    nets = [Net(NEURONS["soft"], None, None) for _ in range(2)]
    plain = sx.simulate(nets[0], 2.0, record=[sx.record.Spikes(), sx.record.Rates(bin=0.5)])
    filed = sx.simulate(nets[1], 2.0, to=tmp_path / "spikes.h5")
    for name in ("ids", "steps"):
        want = getattr(plain.spikes["A"], name)
        np.testing.assert_array_equal(getattr(filed.spikes["A"], name), want)
    counts = plain.rates["A"].hz * N * 0.5e-3
    assert counts.sum() == pytest.approx(len(plain.spikes["A"]))
