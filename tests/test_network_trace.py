"""Traces that the engine writes: those of the loop, bit for bit, whoever makes which steps."""

from __future__ import annotations

import brainunit as u
import jax
import numpy as np
import pytest
import spikexla as sx
from spikexla.init import Uniform
from spikexla.ops import library, network_run
from spikexla.ops.network_probe import Probe
from spikexla.ops.wiring import pack
from test_network import population, projection

STEPS = 61


def coba(n):
    return sx.COBANet(n, seed=3)


def cuba(n):
    return sx.CUBANet(n, seed=4)


class Nest(sx.nn.Module):
    """Two populations of IafPscExp with delays, noise and several receptors."""

    def __init__(self, n):
        super().__init__()
        start = Uniform(-65.0, -54.0)
        self.E, self.I = (
            sx.IafPscExp(k, V_initializer=start(k, key=jax.random.key(k)), I_e=300.0)
            for k in (n, n // 3)
        )
        self.EE, self.EI, self.IE = (
            sx.AlignPostProj(
                comm=sx.EventFixedProb(pre.size, post.size, 0.05, weight, seed=k),
                delay=delay,
                **post.receptor(tau),
            )
            for k, (pre, post, weight, tau, delay) in enumerate(
                [
                    (self.E, self.E, 60.0, 0.5, 0.5),
                    (self.E, self.I, 60.0, 0.5, None),
                    (self.I, self.E, -240.0, 0.8, 1.2),
                ]
            )
        )
        self.noise = sx.PoissonInput(rate=8.0, num=900, weight=60.0, seed=1, **self.E.receptor(0.5))

    def update(self):
        e, i = self.E.get_spike() != 0, self.I.get_spike() != 0
        self.EE(e)
        self.EI(e)
        self.IE(i)
        self.noise()
        self.E()
        self.I()


class Apart(sx.nn.Module):
    """Synapses of their own, advanced when called; LIF with soft and LIFRef with hard reset."""

    def __init__(self, n):
        super().__init__()
        self.A, self.B = sx.LIFRef((2, n // 2), tau_ref=2.0, spk_reset="hard"), sx.LIF(n)
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedProb(n, n, 0.05, 0.3, seed=1),
            syn=sx.Expon(n, tau=3.0), out=sx.CUBA(), post=self.B,
        )  # fmt: skip

    def update(self):
        self.P(self.B.get_spike())
        self.A(np.linspace(1.0, 1.5, self.A.size).reshape(self.A.in_size))
        self.B(np.linspace(0.9, 1.6, self.B.size))


class Units(sx.nn.Module):
    """A network whose States are quantities."""

    def __init__(self, n):
        super().__init__()
        V = np.linspace(-60.0, -49.0, n) * u.mV
        mV = {"V_rest": -60.0 * u.mV, "V_th": -50.0 * u.mV, "V_reset": -61.0 * u.mV}
        self.N = sx.LIFRef(n, tau=20.0 * u.ms, R=1.0 * u.ohm, V_initializer=V, **mV)
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedProb(n, n, 0.05, 0.6 * u.mS, seed=1),
            syn=sx.Expon.desc(n, tau=5.0 * u.ms, g_initializer=0.0 * u.mS),
            out=sx.COBA.desc(E=0.0 * u.mV),
            post=self.N,
        )

    def update(self):
        self.P(self.N.get_spike() != 0)
        self.N(20.0 * u.mA)


class Jumps(sx.nn.Module):
    """Spikes that move V at once, beside an exponential synapse."""

    def __init__(self, n):
        super().__init__()
        start = Uniform(-65.0, -54.0)(n, key=jax.random.key(n))
        self.N = sx.IafPscExp(n, V_initializer=start, I_e=400.0)
        self.P, self.Q = (
            sx.AlignPostProj(comm=sx.EventFixedProb(n, n, 0.05, weight, seed=k), delay=1.5, **to)
            for k, (weight, to) in enumerate(
                [(0.4, self.N.delta_receptor()), (-40.0, self.N.receptor(2.0))]
            )
        )

    def update(self):
        spikes = self.N.get_spike()
        self.P(spikes)
        self.Q(spikes)
        self.N()


MODELS = {  # how to make it; its parts with their traced States
    "coba": (coba, {"N": ["V", "refractory"], "E.syn": ["g"], "I.syn": ["g"]}),
    "cuba": (cuba, {"N": ["V", "refractory"], "E.syn": ["g"]}),
    "iaf_psc_exp": (
        Nest,
        {"E": ["V", "refractory"], "I": ["V"], "EE.syn": ["g"], "EI.syn": ["g"], "IE.syn": ["g"]},
    ),
    "delta": (Jumps, {"N": ["V", "refractory"], "P.syn": ["g"], "Q.syn": ["g"]}),
    "units": (Units, {"N": ["V", "refractory"], "P.syn": ["g"]}),
    "apart": (Apart, {"A": ["V", "refractory"], "B": ["V"], "P.syn": ["g"]}),
}


class Stepped(sx.nn.Module):
    """The same network in a loop: the engine knows no update that reads a State."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, next(iter(net.states().values()))

    def update(self):
        self.net.update()
        return self.seen.value


@pytest.fixture(autouse=True)
def setting(dt):
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


def traces(net, wanted, every, chunk, prefix="", chosen=None):
    record = {
        prefix + part: [sx.record.Trace(state, chosen, every) for state in states]
        for part, states in wanted.items()
    }
    run = sx.simulate(net, STEPS * 0.1, record=record, chunk=chunk * 0.1)
    return run, {(part.removeprefix(prefix), s): t for (part, s), t in run.traces.items()}


@pytest.fixture(scope="module")
def looped():
    """The traces of the loop, after every step; made once for each model and size."""
    made = {}

    def get(model, n):
        if (model, n) not in made:
            make, wanted = MODELS[model]
            run, got = traces(Stepped(make(n)), wanted, 1, STEPS, "net.")
            assert run.path == "for_loop"
            made[model, n] = got
        return made[model, n]

    return get


CHUNKS = [(1, STEPS), (1, 7), (4, STEPS), (4, 6), (10, 1), (10, 13), (STEPS, 20), (STEPS + 1, 9)]


@pytest.mark.sampled(16)
@pytest.mark.parametrize(("every", "chunk"), CHUNKS)
@pytest.mark.parametrize("model", MODELS)
def test_the_engine_traces_what_the_loop_does(model, every, chunk, looped):
    make, wanted = MODELS[model]
    run, got = traces(make(300), wanted, every, chunk)
    assert run.path == "network_run", run.why
    for label, want in looped(model, 300).items():
        values = want.values[every - 1 :: every]
        assert got[label].values.dtype == want.values.dtype
        np.testing.assert_array_equal(got[label].values, values, err_msg=str(label))
        np.testing.assert_allclose(
            got[label].times_ms, np.arange(every, STEPS + 1, every) * 0.1, err_msg=str(label)
        )
        assert (got[label].unit, got[label].every_ms) == (want.unit, every * 0.1)
    for label, want in looped(model, 300).items():
        assert len(np.unique(want.values)) > 1 or label[1] == "refractory", label


@pytest.mark.sampled(8)
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("model", MODELS)
def test_threads_change_no_bit_of_a_trace(model, threads, looped, setting):
    make, wanted = MODELS[model]
    n = 8000 if model != "apart" else 5000
    setting(threads)
    run, got = traces(make(n), wanted, 3, 25)
    assert run.path == "network_run", run.why
    for label, want in looped(model, n).items():
        np.testing.assert_array_equal(got[label].values, want.values[2::3], err_msg=str(label))


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize(
    "chosen", [[5], [199, 0, 64, 5], [7, 7, 3], np.arange(200, dtype=np.uint8)]
)
def test_neurons_come_in_the_order_they_were_asked_for(chosen, precision):
    with sx.environ.context(precision=precision):
        wanted = {"N": ["V"], "I.syn": ["g"]}
        run, got = traces(coba(200), wanted, 2, 9, chosen=chosen)
        _, whole = traces(Stepped(coba(200)), wanted, 2, 9, "net.")
    assert run.path == "network_run", run.why
    for label, want in whole.items():
        assert got[label].values.dtype == f"float{precision}"
        assert got[label].neurons.tolist() == list(chosen)
        np.testing.assert_array_equal(got[label].values, want.values[:, chosen])


def test_a_trace_alone_and_a_run_that_goes_on():
    """`every` counts on from one call to the next, as in the loop."""
    net, loop, done = coba(200), Stepped(coba(200)), 0
    for steps in (7, 1, 15):
        one, two = (
            sx.simulate(made, steps * 0.1, record={name: sx.record.Trace("V", every=4)})
            for made, name in ((net, "N"), (loop, "net.N"))
        )
        assert (one.path, one.spikes, one.rates_hz) == ("network_run", {}, {})
        (got,), (want,) = one.traces.values(), two.traces.values()
        sampled = [k for k in range(done + 1, done + steps + 1) if k % 4 == 0]
        np.testing.assert_allclose(got.times_ms, np.array(sampled) * 0.1)
        np.testing.assert_array_equal(got.values, want.values)
        np.testing.assert_array_equal(got.times_ms, want.times_ms)
        done += steps


# -- the op ---------------------------------------------------------------------------------------


def op(probes, steps=9, backend="native", drive=1.2):
    made = [population(drive=drive)]
    return network_run(made, [projection()], steps, probes=probes, backend=backend)


@pytest.mark.parametrize(("every", "phase"), [(1, 0), (3, 2), (4, 0), (9, 8), (20, 8), (20, 9)])
@pytest.mark.parametrize("steps", [0, 1, 9])
def test_the_probes_of_the_op_are_those_of_its_reference(every, phase, steps):
    places = [0, 3, 9]
    probes = [Probe(0, variable, places, every, phase) for variable in ("V", "refractory", 0)]
    native, xla = (op(probes, steps, backend).traces for backend in ("native", "xla"))
    for a, b in zip(native, xla, strict=True):
        assert a.shape == (-(-steps // every), 3)
        np.testing.assert_allclose(a, b, rtol=1e-6)
    due = steps > phase
    assert bool(np.any(native[0])) == due


def test_probes_map_with_the_rest():
    def traced(drive, backend):
        return op([Probe(0, "V", [1, 4], 2, 1)], backend=backend, drive=drive).traces[0]

    drives = np.array([0.0, 1.2, 3.0], np.float32)
    native, xla = (jax.vmap(lambda d, b=b: traced(d, b))(drives) for b in ("native", "xla"))
    assert native.shape == (3, 5, 2)
    np.testing.assert_allclose(native, xla, rtol=1e-6)


BAD_PROBES = {
    "population": (Probe(1, "V", [0]), "population 1"),
    "population below": (Probe(-1, "V", [0]), "population -1"),
    "variable": (Probe(0, "U", [0]), "'U'"),
    "port": (Probe(0, 1, [0]), "reads 1 of"),
    "every": (Probe(0, "V", [0], 0), "every=0"),
    "half every": (Probe(0, "V", [0], 1.5), "every=1.5"),
    "phase": (Probe(0, "V", [0], 3, 3), "phase=3"),
    "half a phase": (Probe(0, "V", [0], 3, 0.5), "phase=0.5"),
    "outside": (Probe(0, "V", [0, 10]), "names neuron 10"),
    "below": (Probe(0, "V", [-1, 3]), "names neuron -1"),
    "order": (Probe(0, "V", [3, 1]), "names neuron 1"),
    "twice": (Probe(0, "V", [3, 3]), "names neuron 3"),
    "floats": (Probe(0, "V", [0.5]), "whole numbers"),
    "grid": (Probe(0, "V", [[0]]), "shape (1, 1)"),
}


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("case", BAD_PROBES)
def test_probes_of_what_is_not_there_are_named(case, backend):
    probe, message = BAD_PROBES[case]
    with pytest.raises(ValueError, match="network_run: probe 0") as raised:
        op([probe], backend=backend)
    assert message in str(raised.value)


@pytest.mark.parametrize(("index", "phase"), [([0, 10], 0), ([-1, 3], 0), ([3, 1], 0), ([0], 3)])
def test_traced_probes_that_nobody_checked_are_an_error_and_no_crash(index, phase):
    wiring = pack([10], [1], [projection()], np.float32)

    @jax.jit
    def run(index, phase):
        probe = Probe(0, "V", index, 3, phase)
        return network_run([population()], wiring, 5, probes=[probe]).traces

    with pytest.raises(Exception, match=r"a probe\b"):
        jax.block_until_ready(run(np.array(index), phase))
