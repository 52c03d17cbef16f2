"""Wrong networks and wrong runs: one error that names the value and the rule; no State changes."""

from __future__ import annotations

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.network import fits

N = 50
R = sx.record


class Net(sx.nn.Module):
    """One population with a projection onto itself and an input."""

    def __init__(self, weight=0.05, of_N=None, comm=sx.EventFixedProb, **how):
        super().__init__()
        self.N = sx.LIF(N, **(of_N or {}))
        to = {"syn": sx.Expon.desc(N), "out": sx.CUBA.desc(), "post": self.N}
        self.P = sx.AlignPostProj(comm=comm(N, N, 0.3, weight, seed=1), **to | how)

    def update(self, current=1.5):
        self.P(self.N.get_spike())
        self.N(current)


def csr(indptr, indices):
    return lambda: sx.connect.CSR(np.array(indptr), np.array(indices), N)


MADE = {  # what cannot be made
    "a target too far": (csr([0, 2], [1, N]), ValueError, ["indices[1] = 50", "[0, 50)"]),
    "a target below 0": (csr([0, 2], [1, -1]), ValueError, ["indices[1] = -1", "[0, 50)"]),
    "rows that end early": (csr([0, 1], [1, 2]), ValueError, ["nnz = 2"]),
    "a delay below 0": (lambda: Net(delay=-1.0), ValueError, ["-1.0 ms", "0 or longer"]),
    "a delay NaN": (lambda: Net(delay=np.nan), ValueError, ["nan ms", "finite"]),
    "an endless delay": (lambda: Net(delay=np.inf), ValueError, ["inf ms", "finite"]),
    "a long delay": (lambda: Net(delay=103.0), ValueError, ["1030 steps", "1023", "Shorten it"]),
    "a delay in words": (lambda: Net(delay="long"), TypeError, ["'long'", "a time"]),
    "a delay in mV": (lambda: Net(delay=1.0 * u.mV), TypeError, ["got mV", "ms"]),
    "delays of others": (lambda: Net(delay=np.ones(3)), ValueError, ["(3,)", "(50,)"]),
    "a weight NaN": (lambda: Net(np.nan), ValueError, ["a weight is NaN"]),
    "a weight in words": (lambda: Net("much"), TypeError, ["weight is 'much'", "real number"]),
    "a complex weight": (lambda: Net(1j), TypeError, ["weight is 1j", "real number"]),
    "no weight": (lambda: Net(None), ValueError, ["weight", "must be given"]),
    "weights of others": (lambda: Net(np.ones(3)), ValueError, ["weight", "(3,)"]),
    "tau NaN": (lambda: Net(of_N={"tau": np.nan}), ValueError, ["LIF.tau is nan", "positive"]),
    "tau in words": (lambda: Net(of_N={"tau": "short"}), TypeError, ["LIF.tau is 'short'"]),
    "tau in mV": (lambda: Net(of_N={"tau": 1.0 * u.mV}), TypeError, ["LIF.tau", "got mV"]),
    "V NaN": (lambda: Net(of_N={"V_initializer": np.nan}), ValueError, ["V_initializer made NaN"]),
    "V in words": (
        lambda: Net(of_N={"V_initializer": "low"}),
        TypeError,
        ["V_initializer is 'low'"],
    ),
    "a small synapse": (
        lambda: Net(syn=sx.Expon.desc(3)),
        ValueError,
        ["(3,)", "(50,)", "of post"],
    ),
    "a target elsewhere": (lambda: Net(post=None), TypeError, ["post is None", "LIF(100)"]),
    "weights in mV": (
        lambda: Net(1.0 * u.mV, out=sx.COBA.desc(E=0.0)),
        TypeError,
        ["weights are in mV", "takes S or 1"],
    ),
    "other targets": (
        lambda: Net(comm=lambda n, _, *a, **k: sx.EventFixedProb(n, 9, *a, **k)),
        ValueError,
        ["(9,)", "(50,)", "the out_size of post"],
    ),
    "nobody": (lambda: sx.LIF(0), ValueError, ["in_size=0", "1 or more"]),
}


@pytest.mark.parametrize("case", MADE)
def test_a_part_that_cannot_be_is_named(case, dt):
    make, error, words = MADE[case]
    with pytest.raises(error) as raised:
        make()
    assert all(word in str(raised.value) for word in words), raised.value


def put(of, name, value):
    """A change of a network: the attribute or State `name` of a part of it is written."""

    def change(net):
        part = of(net)
        if isinstance(getattr(part, name), sx.State):
            part = getattr(part, name)
            name_ = "value"
        else:
            name_ = name
        setattr(part, name_, value)

    return change


def fed(net):
    net.N.add_delta_input("kick", 0.1)


def fed_current(net):
    net.P.syn.add_current_input("x", 0.1)


def undelayed(net):
    del net.P.history
    with sx.environ.context(dt=0.5):
        net.P.init_state()


OTHER = sx.EventFixedProb(N, N + 9, 0.3, 0.05, seed=1)
NAN = jnp.full(N, jnp.nan)

RUN = {  # what is written to a network that was well, and cannot run
    "other connections": (
        put(lambda n: n.P.comm, "conn", OTHER.conn),
        ["P", "(50, 59)", "(50, 50)"],
    ),
    "another comm": (put(lambda n: n.P, "comm", OTHER), ["P", "(50, 59)", "(50, 50)"]),
    "weights of others": (
        put(lambda n: n.P.comm, "weight", jnp.ones(3)),
        ["P", "(3,)", "comm.weight"],
    ),
    "weights NaN": (put(lambda n: n.P.comm, "weight", jnp.float32(jnp.nan)), ["V of N became NaN"]),
    "V NaN": (put(lambda n: n.N, "V", NAN), ["V of N became NaN in the steps 1 to 70", "neuron 0"]),
    "V short": (put(lambda n: n.N, "V", jnp.zeros(3)), ["N.V is float32 (3,)", "(50,)"]),
    "V whole": (put(lambda n: n.N, "V", jnp.zeros(N, int)), ["N.V is int32", "float type"]),
    "g NaN": (put(lambda n: n.P.syn, "g", NAN), ["V of N became NaN", "weights to it"]),
    "g short": (put(lambda n: n.P.syn, "g", jnp.zeros(3)), ["P.syn.g is float32 (3,)", "(50,)"]),
    "tau NaN": (put(lambda n: n.N, "tau", np.nan), ["V of N became NaN", "parameters"]),
    "an input before": (fed, ["N has the input 'kick'", "Add it in update()"]),
    "a current before": (fed_current, ["P.syn has the input 'x'", "make that step first"]),
    "delays of another dt": (undelayed, ["another dt", "init_all_states"]),
}


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("case", RUN)
def test_what_was_spoilt_is_named_before_or_after_the_first_chunk(case, backend, dt):
    change, words = RUN[case]
    net = Net(delay=0.5)
    change(net)
    before = bits(net)
    with pytest.raises(ValueError, match=r"simulate|another dt") as raised:
        sx.simulate(net, 14.0, chunk=7.0, backend=backend)
    assert all(word in str(raised.value) for word in words), raised.value
    assert bits(net) == before


def bits(net):
    """All States, to compare."""
    leaves = jax.tree.leaves([state.value for state in net.states().values()])
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def test_a_number_that_is_lost_half_way_leaves_what_came_before(dt):
    """Weights are read when a spike arrives, so NaN shows late: the finished chunks stay."""
    net, same = Net(), Net()
    net.P.comm.weight.value = jnp.float32(jnp.nan)
    with pytest.raises(ValueError, match="V of N became NaN in the steps 41 to 60") as raised:
        sx.simulate(net, 20.0, chunk=2.0)
    assert raised.value.result.steps == 40
    assert "40 of 200 steps" in raised.value.__notes__[0]
    sx.simulate(same, 4.0)
    assert np.asarray(net.N.V.value).tobytes() == np.asarray(same.N.V.value).tobytes()


CALLS = {
    "a duration of words": (lambda net: sx.simulate(net, "1"), TypeError, ["duration='1'", "ms"]),
    "True": (lambda net: sx.simulate(net, True), TypeError, ["duration=True", "ms"]),
    "a potential": (lambda net: sx.simulate(net, 1.0 * u.mV), TypeError, ["duration", "got mV"]),
    "a current in mV": (
        lambda net: sx.simulate(net, 1.0, inputs=(1.0 * u.mV,)),
        TypeError,
        ["input current", "got mV"],
    ),
    "a path of numbers": (lambda net: sx.simulate(net, 1.0, to=3), TypeError, ["to=3", "path"]),
    "an unknown name": (
        lambda net: sx.simulate(net, 1.0, record={"M": True}),
        ValueError,
        ["'M'", "the populations 'N'"],
    ),
    "a mask": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(neurons=np.ones(N, bool))),
        ValueError,
        ["whole numbers", "numpy.flatnonzero(mask)"],
    ),
    "a neuron below 0": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(neurons=[-1])),
        ValueError,
        ["asks for -1", "0 to 49"],
    ),
    "a neuron beyond int64": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(neurons=np.uint64([2**63]))),
        ValueError,
        ["asks for 9223372036854775808", "0 to 49"],
    ),
    "every None": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(every=None)),
        ValueError,
        ["every=None", "whole number"],
    ),
    "every True": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(every=True)),
        ValueError,
        ["every=True", "whole number"],
    ),
    "no State": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace("tau")),
        ValueError,
        ["'tau'", "it has V"],
    ),
    "a State of none": (
        lambda net: sx.simulate(net, 1.0, record=R.Trace(3)),
        ValueError,
        ["Trace(3)", "it has V"],
    ),
    "within jit": (
        lambda net: sx.transform.jit(lambda: sx.simulate(net, 1.0).wall_s)(),
        TypeError,
        ["jit", "transform.for_loop"],
    ),
    "within jit of jax": (
        lambda net: jax.jit(lambda x: sx.simulate(net, 1.0, inputs=(x,)).wall_s)(1.0),
        TypeError,
        ["jit", "transform.for_loop"],
    ),
}


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_cannot_be_is_named(case, backend, dt):
    call, error, words = CALLS[case]
    net = Net()
    before = bits(net)
    with sx.backend(backend), pytest.raises(error) as raised:
        call(net)
    assert all(word in str(raised.value) for word in words), raised.value
    assert bits(net) == before


def test_traces_that_do_not_fit_are_refused_with_the_figure(dt, monkeypatch):
    monkeypatch.setattr(fits, "available_memory", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"100 steps need 2e-05 GB, but 1e-05 GB are free"):
        sx.simulate(Net(), 10.0, record=R.Trace())
    sx.simulate(Net(), 10.0, record=R.Trace(every=2))


def test_a_part_under_two_names_is_one(dt):
    net, same = Net(), Net()
    net.M, net.Q = net.N, net.P
    result, want = sx.simulate(net, 15.0), sx.simulate(same, 15.0)
    assert (result.path, len(result.parts)) == ("network_run", 2)
    (spikes,) = result.spikes.values()
    assert spikes.ids.tolist() == want.spikes["N"].ids.tolist()


def test_a_run_shorter_than_every_has_no_sample(dt):
    trace = sx.simulate(Net(), 1.0, record=R.Trace(every=11)).traces["N", "V"]
    assert (trace.values.shape, len(trace.times_ms)) == ((0, N), 0)
