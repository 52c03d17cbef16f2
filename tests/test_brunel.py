"""Brunel's network: the rates of its regimes in theory, in live NEST and here; its numbers."""

from __future__ import annotations

import json
import subprocess
import sys

import brainunit as u
import numpy as np
import pytest
import spikexla as sx
from spikexla.network.brunel import REGIMES
from spikexla.network.mean_field import siegert_rate

ORDER, WARM_MS, MS = 400, 200.0, 600.0

# NEST is imported in a process of its own: it brings its own threads and signal handlers. The
# network of its brunel_delta_nest.py, with the V_reset of the paper.
NEST = """
import json, sys
import nest
nest.set_verbosity("M_ERROR") if hasattr(nest, "set_verbosity") else None
order, warm, ms, cases = json.loads(sys.stdin.read())
rates = []
for g, eta in cases:
    nest.ResetKernel()
    nest.resolution, nest.local_num_threads, nest.rng_seed = 0.1, 1, 7
    params = dict(C_m=1.0, tau_m=20.0, t_ref=2.0, E_L=0.0, V_reset=10.0, V_m=0.0, V_th=20.0)
    E, I = (nest.Create("iaf_psc_delta", k * order, params) for k in (4, 1))
    every = E + I
    noise = nest.Create("poisson_generator", params={"rate": eta * 1e3 * 20.0 / (0.1 * 20.0)})
    recorder = nest.Create("spike_recorder", params={"start": warm})
    nest.Connect(noise, every, syn_spec={"weight": 0.1, "delay": 1.5})
    for pre, n, weight in ((E, 4 * order, 0.1), (I, order, -0.1 * g)):
        rule = {"rule": "fixed_indegree", "indegree": n // 10}
        nest.Connect(pre, every, rule, {"weight": weight, "delay": 1.5})
    nest.Connect(every, recorder)
    nest.Simulate(warm + ms)
    rates.append(recorder.n_events / (5 * order) / ms * 1e3)
print(json.dumps(rates))
"""


@pytest.fixture(scope="module")
def ours():
    with sx.environ.context(dt=0.1):
        return {name: our_rate(*regime) for name, regime in REGIMES.items()}


def our_rate(g, eta):
    net = sx.network.Brunel(ORDER, g=g, eta=eta, seed=3)
    sx.simulate(net, WARM_MS, record=False)
    run = sx.simulate(net, MS)
    assert run.path == "network_run", run.why
    return run.rates_hz["N"]


@pytest.fixture(scope="module")
def theirs():
    found = subprocess.run([sys.executable, "-c", "import nest"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"NEST cannot be imported here: {found.stderr.strip().splitlines()[-1]}")
    asked = json.dumps([ORDER, WARM_MS, MS, list(REGIMES.values())])
    done = subprocess.run([sys.executable, "-c", NEST], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(REGIMES, json.loads(done.stdout.strip().splitlines()[-1]), strict=True))


# In the last regime all neurons rise and fall together, some times in a run.
WITHIN = {"SR": 0.02, "SI fast": 0.02, "AI": 0.02, "SI slow": 0.2}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("regime", REGIMES)
def test_rates_are_those_of_nest(ours, theirs, regime):
    assert ours[regime] == pytest.approx(theirs[regime], rel=WITHIN[regime])
    print(f"{regime}: ours {ours[regime]:.2f} Hz, NEST {theirs[regime]:.2f} Hz")


@pytest.mark.parametrize("regime", REGIMES)
def test_rates_are_those_of_the_mean_field(ours, regime, dt):
    g, eta = REGIMES[regime]
    closed = sx.network.Brunel(ORDER, g=g, eta=eta).mean_field_hz()
    assert ours[regime] == pytest.approx(closed, rel=WITHIN[regime])


# What the paper's figure 8 gives as theory, at its own size; and the same with V_reset = 0, as
# others have computed it.
PUBLISHED = {
    "SI fast": (10.0, 55.8),
    "AI": (10.0, 38.0),
    "SI slow": (10.0, 6.5),
    "SR, reset to 0": (0.0, 194.794),
    "AI, reset to 0": (0.0, 32.0331),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_the_mean_field_is_that_of_the_paper(case, dt):
    V_reset, published = PUBLISHED[case]
    g, eta = REGIMES[case.split(",")[0]]
    net = sx.network.Brunel(g=g, eta=eta, V_reset=V_reset)
    within = 0.06 if V_reset else 5e-4  # as many digits as are given
    assert net.mean_field_hz() == pytest.approx(published, abs=within)


# mean, deviation: Hz, by others; the first is the one that NEST's own test has.
SIEGERT = {
    (15.0, 1.5**0.5): 27.1095934379,
    (15.0, 5.0): 43.36197912,
    (22.5, 1.0): 77.23686519,
    (10.0, 15.0): 55.78375623,
    (13.5, 1.0): 5.983016717,
    (0.0, 0.1): 0.0,
    (15.5, 0.0): 27.5179835186,
    (15.0, 0.0): 0.0,
}


@pytest.mark.parametrize("at", SIEGERT, ids=str)
def test_siegert_rates(at):
    rate = siegert_rate(*at, tau=10.0, t_ref=2.0, threshold=15.0, reset=0.0)
    assert rate == pytest.approx(SIEGERT[at], rel=1e-7)


def test_without_input_nothing_fires(dt):
    net = sx.network.Brunel(10, eta=0.0)
    assert net.mean_field_hz() == 0.0
    assert sx.simulate(net, 50.0).rates_hz["N"] == 0.0


def test_every_neuron_has_its_inputs(dt):
    net = sx.network.Brunel(50, g=4.0, J=0.2)
    for projection, k, weight in ((net.E, 20, 0.2), (net.I, 5, -0.8)):
        conn = projection.comm.conn
        np.testing.assert_array_equal(np.bincount(conn.indices, minlength=250), k)
        assert float(projection.comm.weight_mantissa) == pytest.approx(weight)
        assert projection.delay_steps(0.1) == 14  # arrives at the end of the step after
    assert net.noise.rate == pytest.approx(2 * 5000)  # twice 20 mV / (0.2 mV 20 ms)


def test_the_seed_repeats_it_and_the_loop_has_its_bits(dt):
    def spikes(seed, backend=None):
        run = sx.simulate(sx.network.Brunel(20, seed=seed), 60.0, backend=backend)
        return np.stack([run.spikes["N"].steps, run.spikes["N"].ids])

    first = spikes(1)
    assert first.shape[1] > 50
    np.testing.assert_array_equal(first, spikes(1))
    np.testing.assert_array_equal(first, spikes(1, "xla"))
    assert spikes(2).shape != first.shape


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"order": 9}, ValueError, "order=9"),
        ({"order": 2.5}, TypeError, "order=2.5"),
        ({"order": 10**9}, ValueError, "reach of int32 indices"),  # and no memory is asked for
        ({"g": -1.0}, ValueError, "g=-1.0 must be 0 or more"),
        ({"g": "5"}, TypeError, "g='5' must be one real number"),
        ({"g": np.ones(2)}, TypeError, "must be one real number"),
        ({"J": 1 * u.nS}, TypeError, "J must be given in mV"),
        ({"eta": float("inf")}, ValueError, "eta=inf must be 0 or more, and finite"),
        ({"J": 0.0}, ValueError, "J=0.0 must be above 0"),
        ({"eta": 100.0}, ValueError, "events in a step"),
        ({"V_reset": 20.0}, ValueError, "threshold must be above"),
        ({"seed": -1}, ValueError, "seed=-1"),
    ],
    ids=str,
)
def test_what_is_no_network_is_refused(how, error, says, dt):
    with pytest.raises(error, match=says):
        sx.network.Brunel(**{"order": 10, **how})
