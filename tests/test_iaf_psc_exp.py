"""IafPscExp, with currents and delta synapses: live NEST, closed forms, order, units, errors."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.comm import EventComm
from spikexla.connect import FixedFanOut, FixedInDegree, Uniform

STEPS = 3000

# NEST is imported in a process of its own: it brings its own threads and signal handlers.
NEST = """
import json, sys
import nest
nest.set_verbosity("M_ERROR") if hasattr(nest, "set_verbosity") else None
answers = []
for case in json.loads(sys.stdin.read()):
    nest.ResetKernel()
    nest.resolution = case["dt"]
    neuron = nest.Create(case["model"], params=case["params"])
    neuron.V_m = neuron.E_L
    for source in case["sources"]:
        spikes = nest.Create("spike_generator", params={
            "spike_times": source["times"], "allow_offgrid_times": False})
        syn = {"weight": source["weight"], "delay": source["delay"]}
        nest.Connect(spikes, neuron, syn_spec=syn)
    meter = nest.Create("multimeter", params={"record_from": ["V_m"], "interval": case["dt"]})
    recorder = nest.Create("spike_recorder")
    nest.Connect(meter, neuron)
    nest.Connect(neuron, recorder)
    nest.Simulate(case["dt"] * (case["steps"] + 40))  # the meter's data come late
    times = recorder.events["times"]
    answers.append({
        "V_m": meter.events["V_m"][: case["steps"]].tolist(),
        "times": times[times < case["dt"] * (case["steps"] + 0.5)].tolist(),
    })
print(json.dumps(answers))
"""

# name: NEST's parameters, dt, and for each source (weight in pA, in mV if it is delta, delay in
# steps, rate a step)
CASES = {
    "at rest": ({}, 0.1, []),
    "dc": ({"I_e": 500.0}, 0.1, []),
    "held for one step": ({"I_e": 900.0, "t_ref": 0.1, "tau_m": 5.0}, 0.1, []),
    "a period between steps": ({"I_e": 700.0, "t_ref": 0.24}, 0.1, []),
    "microcircuit": (
        {"E_L": -65.0, "V_th": -50.0, "V_reset": -65.0, "tau_syn_ex": 0.5, "tau_syn_in": 0.5},
        0.1,
        [(87.8, 1, 1.0), (87.8, 15, 0.8), (-351.2, 8, 0.1)],
    ),
    "two receptors, dc": (
        {"I_e": 300.0, "tau_syn_ex": 2.0, "tau_syn_in": 10.0, "V_reset": -62.0},
        0.1,
        [(60.0, 3, 0.4), (-10.0, 20, 0.2)],
    ),
    "equal time constants": (
        {"tau_syn_ex": 10.0, "tau_syn_in": 10.0, "C_m": 200.0}, 0.1, [(40.0, 1, 0.3)]),
    "nearly equal": (
        {"tau_syn_ex": 10.0 + 1e-6, "tau_syn_in": 9.999, "t_ref": 0.5},
        0.1,
        [(60.0, 2, 0.4), (-20.0, 1, 0.1)],
    ),
    "a long step": ({"tau_syn_ex": 0.3, "t_ref": 5.0}, 1.0, [(2000.0, 1, 0.7)]),
    "delta": (
        {"E_L": 0.0, "V_th": 20.0, "V_reset": 10.0, "tau_m": 20.0},
        0.1,
        [(0.8, 1, 0.4), (0.5, 15, 0.3), (-2.0, 2, 0.1)],
    ),
    "delta, every delay": (
        {"E_L": 0.0, "V_th": 20.0, "V_reset": 10.0, "tau_m": 20.0},
        0.1,
        [(0.1 * k, k, 0.05) for k in range(1, 25)],
    ),
    "delta, dc": ({"I_e": 300.0, "C_m": 200.0}, 0.5, [(3.0, 3, 0.3), (-1.0, 1, 0.5)]),
}  # fmt: skip
EX, IN = "tau_syn_ex", "tau_syn_in"


def arrivals(sources):
    """Whether each source emits at the end of each step, the same for both simulators."""
    rng = np.random.default_rng(5)
    return [rng.random(STEPS) < rate for _, _, rate in sources]


@pytest.fixture(scope="module")
def nest_answers():
    found = subprocess.run([sys.executable, "-c", "import nest"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"NEST cannot be imported here: {found.stderr.strip().splitlines()[-1]}")
    asked = [
        {
            "model": "iaf_psc_delta" if "delta" in name else "iaf_psc_exp",
            "params": params,
            "dt": dt,
            "steps": STEPS,
            "sources": [
                {
                    "weight": weight,
                    "delay": delay * dt,
                    "times": [round((n + 1) * dt, 9) for n in np.flatnonzero(train)],
                }
                for (weight, delay, _), train in zip(sources, arrivals(sources), strict=True)
            ],
        }
        for name, (params, dt, sources) in CASES.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", NEST], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout.strip().splitlines()[-1]), strict=True))


def ones(weight):
    """One source onto one target."""
    return sx.EventFixedProb(1, 1, 1.0, weight, seed=0)


def ours(params, dt, sources, delta):
    """(V_m, times of spikes in ms)."""
    sx.environ.set(dt=dt, precision=64)
    own = {k: v for k, v in params.items() if k not in (EX, IN)}
    neurons = sx.IafPscExp(1, **own)
    projections = [
        sx.AlignPostProj(
            comm=ones(weight),
            delay=delay * dt,
            **(
                neurons.delta_receptor()
                if delta
                else neurons.receptor(params.get(EX if weight > 0 else IN, 2.0))
            ),
        )
        for weight, delay, _ in sources
    ]
    last = np.zeros((STEPS, len(sources), 1), bool)
    for k, train in enumerate(arrivals(sources)):
        last[1:, k, 0] = train[:-1]  # a projection takes the spikes of the last step

    def step(spikes):
        for projection, one in zip(projections, spikes, strict=True):
            projection(one)
        return neurons(), neurons.V_m

    spikes, V_m = sx.transform.for_loop(step, jnp.asarray(last))
    return np.asarray(V_m)[:, 0], (np.flatnonzero(spikes[:, 0]) + 1) * dt


@pytest.mark.sampled(8)
@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("name", CASES)
def test_the_potential_is_that_of_nest(nest_answers, name, backend):
    with sx.backend(backend):
        V_m, times = ours(*CASES[name], delta="delta" in name)
    theirs = nest_answers[name]
    np.testing.assert_allclose(V_m, theirs["V_m"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(times, theirs["times"], rtol=0, atol=1e-9)
    assert len(times) > 5 or name == "at rest"


# -- laws -----------------------------------------------------------------------------------------


def test_a_current_input_is_constant_over_its_step(dt):
    sx.environ.set(precision=64)
    fed, biased = sx.IafPscExp(3), sx.IafPscExp(3, I_e=[100.0, 200.0, 300.0])
    for _ in range(50):
        fed(jnp.array([100.0, 200.0, 300.0]))
        biased()
    np.testing.assert_allclose(fed.V.value, biased.V.value, rtol=1e-13)
    closed = -70 + np.array([100.0, 200.0, 300.0]) * 10 / 250 * -np.expm1(-0.5)
    np.testing.assert_allclose(fed.V.value, closed, rtol=1e-12)


def test_a_direct_current_is_not_taken_for_a_decaying_one(dt):
    sx.environ.set(precision=64)
    fed, direct = sx.IafPscExp(1), sx.IafPscExp(1)
    projection = sx.CurrentProj(comm=ones(100.0), out=sx.CUBA(), post=direct)
    projection(jnp.ones(1))
    direct()
    fed(100.0)
    np.testing.assert_allclose(direct.V.value, fed.V.value, rtol=1e-14)


def test_units_change_nothing_but_the_units(dt):
    sx.environ.set(precision=64)

    def path(pF, ms, mV, pA):
        neurons = sx.IafPscExp(
            4, 250 * pF, 10 * ms, -70 * mV, -55 * mV, -70 * mV, 2 * ms, I_e=300 * pA
        )
        projection = sx.AlignPostProj(
            comm=sx.EventFixedProb(3, 4, 1.0, 120 * pA, seed=0), **neurons.receptor(2 * ms)
        )

        def step(i):
            projection(i % jnp.array([3, 5, 7]) == 0)
            neurons(50 * pA)
            return neurons.V_m

        return sx.transform.for_loop(step, jnp.arange(400))

    plain = path(1.0, 1.0, 1.0, 1.0)
    given = path(u.pfarad, u.ms, u.mV, u.pA)
    assert (np.asarray(plain) == -70).any()
    np.testing.assert_allclose(given.to_decimal(u.mV), plain, rtol=1e-11)


def test_receptors_of_equal_time_constants_share_a_synapse():
    neurons = sx.IafPscExp(4)
    a, b, c = (
        sx.AlignPostProj(comm=sx.EventFixedProb(3, 4, 1.0, w, seed=0), **neurons.receptor(tau))
        for w, tau in ((1.0, 2.0), (-1.0, 2.0), (1.0, 3.0))
    )
    assert a.syn is b.syn
    assert a.syn is not c.syn


class Net(sx.nn.Module):
    """A population that feeds itself."""

    def __init__(self, tau=2.0, delay=None):
        super().__init__()
        start = np.linspace(-70, -56, 50)
        self.N = sx.IafPscExp(50, I_e=np.linspace(300, 500, 50), V_initializer=start)
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedProb(50, 50, 0.2, 30.0 if tau is not None else 0.5, seed=1),
            delay=delay,
            **(self.N.delta_receptor() if tau is None else self.N.receptor(tau)),
        )

    def update(self):
        self.P(self.N.get_spike() != 0)
        return self.N(20.0)


RECURRENT = {
    "exponential": {"tau": np.linspace(0.5, 12.0, 50)},
    "delta": {"tau": None},
    "delta, delayed": {"tau": None, "delay": 1.5},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("precision", [32, 64])
def test_the_engine_steps_it_with_the_bits_of_the_loop(dt, precision, kind):
    sx.environ.set(precision=precision)
    engine, loop = Net(**RECURRENT[kind]), Net(**RECURRENT[kind])
    run = sx.simulate(engine, 40.0)
    assert run.path == "network_run"
    assert len(run.spikes["N"]) > 50
    spikes = sx.transform.for_loop(lambda i: loop(), jnp.arange(400))
    np.testing.assert_array_equal(run.spikes["N"].steps, np.nonzero(spikes)[0])
    np.testing.assert_array_equal(engine.N.V.value, loop.N.V.value)
    np.testing.assert_array_equal(engine.P.syn.g.value, loop.P.syn.g.value)


def test_a_delta_synapse_and_a_delta_projection_move_V_alike(dt):
    sx.environ.set(precision=64)
    comm = sx.EventFixedProb(5, 3, 0.7, np.linspace(-0.3, 0.9, 12), seed=2)
    spikes = jnp.asarray(np.random.default_rng(3).random((300, 5)) < 0.3)

    def path(project):
        neurons = sx.IafPscExp(3, I_e=300.0)
        projection = project(neurons)

        def step(arriving):
            projection(arriving)
            neurons()
            return neurons.V.value

        return sx.transform.for_loop(step, spikes)

    synapse = path(lambda n: sx.AlignPostProj(comm=comm, **n.delta_receptor()))
    projection = path(lambda n: sx.DeltaProj(comm=comm, post=n))
    np.testing.assert_allclose(synapse, projection, rtol=0, atol=1e-12)
    assert (np.asarray(synapse) > -55).any()


DELAYS = {  # ms: the steps after which V has jumped
    "none": (None, 1),
    "zero": (0.0, 1),
    "shorter than dt": (0.04, 1),
    "dt": (0.1, 1),
    "two steps": (0.2, 2),
    "1.5 ms": (1.5, 15),
    "one a source": (np.arange(9) * 0.3, np.maximum(np.arange(9) * 3, 1)),
    "one a synapse": (np.arange(9)[:, None] * 0.2, np.maximum(np.arange(9) * 2, 1)),
    "drawn": (Uniform(0.0, 0.6), None),
}


class Relay(sx.nn.Module):
    """Nine neurons that spike together, each onto one target of each population."""

    def __init__(self, stored=True):
        super().__init__()
        self.pre = sx.LIF(9, V_th=1.0, V_initializer=0.5, tau=1.0)
        self.post = {n: sx.IafPscExp(9, E_L=0.0, V_th=1e9, V_reset=0.0) for n in DELAYS}
        self.P = {n: self._projection(n, delay, stored) for n, (delay, _) in DELAYS.items()}

    def _projection(self, name, delay, stored):
        if name == "drawn":
            rule = FixedInDegree(1)
            comm = sx.EventDrawn(9, 9, rule, 1.0, delay=delay, seed=2, stored=stored)
            return sx.AlignPostProj(comm=comm, **self.post[name].delta_receptor())
        comm = EventComm(9, 9, FixedFanOut(np.arange(9, dtype=np.int32)[:, None], 9), 1.0)
        return sx.AlignPostProj(comm=comm, delay=delay, **self.post[name].delta_receptor())

    def update(self):
        for projection in self.P.values():
            projection(self.pre.get_spike() != 0)
        self.pre(2.0)
        for post in self.post.values():
            post()


def test_V_jumps_after_the_delay_and_not_before_one_step(dt):
    """V of the targets is first above 0 at the time of the spike plus its delay, as in NEST."""
    loop, stored, drawn = Relay(), Relay(), Relay(stored=False)

    def step(i):
        loop()
        return {n: post.V.value for n, post in loop.post.items()}

    V = sx.transform.for_loop(step, jnp.arange(60))
    record = {f"post.{n}": sx.record.Trace("V") for n in DELAYS} | {"pre": sx.record.Spikes()}
    for net in (stored, drawn):
        run = sx.simulate(net, 6.0, record=record)
        assert run.path == "network_run"
        (first,) = set(run.spikes["pre"].steps[:9])
        for n in DELAYS:
            np.testing.assert_array_equal(run.traces[f"post.{n}", "V"].values, V[n])
    comm = loop.P["drawn"].comm
    ms = np.zeros(9)
    ms[np.asarray(comm.conn.indices)] = comm.delay
    for n, (_, steps) in DELAYS.items():
        want = np.maximum(np.floor(ms / 0.1 + 0.5), 1) if steps is None else steps
        np.testing.assert_array_equal(np.argmax(V[n] > 0, axis=0) - first, want, n)
        assert steps is not None or (set(want) == {1, 2, 3, 4, 5, 6} and ms.min() < 0.05)


@pytest.mark.parametrize("batch", [None, 3, (2, 3)])
def test_a_batch_and_a_reset_repeat_the_run(dt, batch):
    net = Net()
    once = sx.transform.for_loop(lambda i: net(), jnp.arange(200))
    assert once.sum() > 0
    twin = pickle.loads(pickle.dumps(net))
    sx.nn.init_all_states(twin, batch_size=batch)
    again = sx.transform.for_loop(lambda i: twin(), jnp.arange(200))
    lead = () if batch is None else (batch,) if isinstance(batch, int) else batch
    every = np.asarray(once).reshape(200, *(1 for _ in lead), 50)
    np.testing.assert_array_equal(again, np.broadcast_to(every, (200, *lead, 50)))


def test_all_parameters_may_be_learned(dt):
    sx.environ.set(precision=64)
    given = {"C_m": 250.0, "tau_m": 10.0, "E_L": -70.0, "I_e": 300.0}
    params = {k: sx.ParamState(jnp.array(v)) for k, v in given.items()}
    neurons = sx.IafPscExp(1, **params, V_th=-50.0, V_reset=-60.0)  # far: no surrogate gradient
    tau = sx.ParamState(jnp.array(10.0))  # equal to tau_m: the gradient is finite there
    projection = sx.AlignPostProj(comm=ones(50.0), **neurons.receptor(tau))
    learned = [*neurons.states(sx.ParamState).values(), tau]

    def loss():
        sx.nn.init_all_states(neurons)
        sx.nn.init_all_states(projection)
        projection(jnp.ones(1))
        for _ in range(5):
            neurons()
        return neurons.V.value.sum()

    for gradient, state in zip(sx.transform.grad(loss, learned)(), learned, strict=True):
        start, values = state.value, []
        for change in (1e-3, -1e-3):
            state.value = start + change
            values.append(float(loss()))
        state.value = start
        assert float(gradient) == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sx.IafPscExp(2, C_m=0.0), ValueError, r"C_m is 0\.0 pF.*positive"),
        (lambda: sx.IafPscExp(2, tau_m=-1.0), ValueError, r"tau_m is -1\.0 ms.*positive"),
        (lambda: sx.IafPscExp(2, t_ref=-1.0), ValueError, "0 or longer"),
        (lambda: sx.IafPscExp(2, I_e=np.nan), ValueError, "I_e is nan pA.*finite"),
        (lambda: sx.IafPscExp(2, V_th=-80.0), ValueError, "by default E_L"),
        (lambda: sx.IafPscExp(2, I_e=1.0 * u.mV), TypeError, r"I_e must be given in pA"),
        (lambda: bound(sx.COBA(E=0.0), sx.Expon(2)), TypeError, "takes currents.*COBA"),
        (lambda: bound(sx.CUBA(), Slow(2)), TypeError, "currents of Expon.*Slow"),
        (lambda: mixed(1.0, 1.0 * u.pA), TypeError, "all as plain numbers"),
        (lambda: mixed(1.0 * u.mV, 1.0 * u.mV), TypeError, "siemens or ampere"),
        (lambda: jumping(sx.IafPscExp(2), 1.0 * u.mA), TypeError, "in mA.*takes mV"),
        (lambda: jumping(sx.LIFRef(2), 1.0), TypeError, "LIFRef.*no Delta synapse.*DeltaProj"),
    ],
)
def test_what_it_cannot_take_is_refused(dt, make, error, message):
    with pytest.raises(error, match=message):
        make()


class Slow(sx.Expon):
    """A synapse with dynamics of its own."""


def bound(out, syn):
    neurons = sx.IafPscExp(2)
    projection = sx.AlignPostProj(
        comm=sx.EventFixedProb(1, 2, 1.0, 1.0, seed=0), syn=syn, out=out, post=neurons
    )
    projection(jnp.ones(1))
    neurons()


def jumping(neurons, weight):
    comm = sx.EventFixedProb(1, 2, 1.0, weight, seed=0)
    syn, out = sx.Delta.desc(2), sx.CUBA.desc()
    sx.AlignPostProj(comm=comm, syn=syn, out=out, post=neurons)(jnp.ones(1))
    neurons()


def mixed(*weights):
    neurons = sx.IafPscExp(2)
    for weight in weights:
        comm = sx.EventFixedProb(1, 2, 1.0, weight, seed=0)
        sx.AlignPostProj(comm=comm, **neurons.receptor(2.0))(jnp.ones(1))
    neurons()
