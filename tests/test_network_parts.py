"""What a simulation says about each part: its path and why; the engine never guesses."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.network import record
from spikexla.network.capture import capture
from spikexla.network.not_a_plan import REASONS, NotAPlan, names_of
from spikexla.network.simulate import _plan
from spikexla.neuron.lif_step import LIF as LIF_STEP
from spikexla.ops import library

N = 50


class Net(sx.nn.Module):
    """One population with a projection onto itself; a case changes one thing about it."""

    def __init__(
        self, *modules, neuron=sx.LIF, comm=sx.EventFixedProb, projection=sx.AlignPostProj, **how
    ):
        super().__init__()
        self.N = neuron(N, **how.pop("of_N", {}))
        size = self.N.in_size
        to = {"syn": sx.Expon.desc(size), "out": sx.CUBA.desc(), "post": self.N}
        weights = comm(size, size, 0.3, 0.05, seed=1)
        self.P = projection(*modules, comm=weights, **to | how)

    def update(self):
        self.P(self.N.get_spike())
        self.N(1.5)


def own(kind, name, result=None):
    """A class like `kind` whose method `name` does something else."""

    def method(self, *args):
        value = getattr(kind, name)(self, *args)
        return value if result is None else result(value)

    return type("Own" + kind.__name__, (kind,), {name: method})


class Mean(sx.nn.Module):
    """A network that reads the mean of a State."""

    def __init__(self):
        super().__init__()
        self.N = sx.LIF(N)

    def update(self):
        self.N(1.2 + 0.1 * self.N.V.value.mean())


class Direct(Net):
    """A projection that has no synapse."""

    def __init__(self, **how):
        super().__init__()
        self.P = sx.DeltaProj(comm=sx.EventFixedProb(N, N, 0.3, 0.05, seed=1), post=self.N, **how)


class Noisy(Net):
    """A Poisson input beside the projection, by the synapse that it shares."""

    def __init__(self):
        super().__init__()
        shared = {"syn": sx.Expon.desc(N), "out": sx.CUBA.desc(), "post": self.N}
        self.noise = sx.PoissonInput(rate=100.0, num=10, weight=0.05, seed=1, **shared)

    def update(self):
        self.noise()
        super().update()
        self.late()

    def late(self):
        """What is called after the step of the population."""


class NoisyTwice(Noisy):
    """A Poisson input that is called twice a step, onto a synapse of its own for each call."""

    def update(self):
        self.noise()
        self.noise()
        super(Noisy, self).update()


class Pair(Net):
    """Two delayed projections of the same neurons, one of which has seen a spike more."""

    def __init__(self):
        super().__init__(delay=0.5)
        weights = sx.EventFixedProb(N, N, 0.3, 0.05, seed=2)
        to = {"syn": sx.Expon.desc(N), "out": sx.CUBA.desc(), "post": self.N}
        self.Q = sx.AlignPostProj(comm=weights, delay=0.5, **to)
        self.Q.history.value = self.Q.history.value.at[0, 0].set(1)

    def update(self):
        self.Q(self.N.get_spike())
        super().update()


def variant(update, kind=Net, **how):
    """How to make a network with another `update`."""
    return lambda: type("Variant", (kind,), {"update": update})(**how)


def stepping(feed=lambda net: net.N.get_spike(), drive=lambda net: 1.5, **how):
    """How to make a network that sends `feed(net)` and steps its population with `drive(net)`."""

    def update(self):
        self.P(feed(self))
        self.N(drive(self))

    return variant(update, **how)


def changed(change, **how):
    """How to make a network and then change it."""

    def make():
        net = Net(**how)
        change(net)
        return net

    return make


def backwards(self):
    self.N(1.5)
    self.P(self.N.get_spike())


def late(self):
    spikes = self.N.get_spike()
    self.N(1.5)
    self.P(spikes)


def silent(self):
    self.P(self.N.get_spike())


def twice(self):
    self.P(self.N.get_spike())
    Net.update(self)


def stepped_twice(self):
    Net.update(self)
    self.N(1.2)


def only_arrays(net):
    if not isinstance(net.N.get_spike(), jax.Array):
        raise TypeError("spikes must be an array")
    return net.N.get_spike()


def kick(net):
    net.N.add_before_update("kick", lambda: net.N.add_delta_input("kick", jnp.full(N, 0.1)))


def leave(net):
    net.N = sx.LIF(N)


def drives(net):
    net.P.syn = sx.Expon(N)


def step_with(x):
    def change(net):
        net.N.update = lambda _: sx.LIF.update(net.N, x)

    return change


def half(x):
    return x * 0.5


def timed(net):
    return jnp.where(sx.environ.get("t", 0.0) < 5.0, 0.0, 1.5)


def asked(net):
    return jax.pure_callback(lambda: np.float32(1.5), jax.ShapeDtypeStruct((), jnp.float32))


def apart(**how):
    """A synapse and an output of their own."""
    return {"syn": sx.Expon(N), "out": sx.CUBA()} | how


NEW = {"kernel": lambda self, conductance: dataclasses.replace(LIF_STEP, name="new")}

LOOPED = [  # the reason, how to make it; the part that stands in the way; what is said of it
    ("state", Mean, "update()", "the state N.V itself"),
    ("state", stepping(drive=timed), "update()", "the state environ.t itself"),
    ("state", stepping(drive=lambda _: sx.random.normal()), "update()", "random.DEFAULT"),
    ("more", stepping(only_arrays), "update()", "(spikes must be an array)"),
    ("effect", stepping(drive=asked), "update()", "(pure_callback)"),
    ("steps", variant(stepped_twice), "N", "2 times"),
    ("index", stepping(lambda n: n.N.get_spike()[::-1]), "N", "slice(None, None, -1)"),
    ("computed", stepping(lambda n: n.N.get_spike() * 2.0), "N", "(arithmetic)"),
    ("computed", stepping(drive=lambda n: n.N.get_spike() == 0), "N", "(a comparison)"),
    ("computed", stepping(lambda n: n.N.get_spike().at[0].set(1.0)), "N", "(.at)"),
    ("computed", stepping(lambda n: jnp.roll(n.N.get_spike(), 1)), "N", "(."),
    ("other spikes", stepping(lambda n: n.N.get_spike(jnp.ones(N))), "N", ""),
    ("no spikes", stepping(lambda _: jnp.ones(N)), "P", ""),
    ("kernel", lambda: Net(neuron=type("New", (sx.LIF,), NEW)), "N", "'new'"),
    ("batch", changed(lambda net: sx.nn.init_all_states(net, batch_size=2)), "N", ""),
    ("spk_fun", lambda: Net(of_N={"spk_fun": lambda x: (x > -0.3).astype(x.dtype)}), "N", ""),
    ("before", changed(kick), "N", "'kick'"),
    ("input", changed(lambda net: net.N.add_current_input("bias", lambda V: 0.3)), "N", "'bias'"),
    ("input", lambda: Net(**apart(syn=own(sx.Expon, "decay", half)(N))), "N", ""),
    ("delta", changed(lambda net: net.N.add_delta_input("kick", lambda V: 0.1 - V)), "N", ""),
    ("spikes in", stepping(drive=lambda net: net.N.get_spike()), "N", ""),
    ("kind", Direct, "P", "DeltaProj"),
    ("modules", lambda: Net(half, **apart()), "P", ""),
    ("comm", lambda: Net(comm=lambda n, *_, **__: sx.nn.Linear(n, n)), "P", "Linear"),
    ("floats", lambda: Net(**apart(differentiable_delay=True, delay=0.5)), "P", ""),
    ("shape", lambda: Net(neuron=lambda n, **of: sx.LIF((5, n // 5), **of)), "P", "(5, 10)"),
    ("history", Pair, "P", ""),
    ("calls", variant(twice, **apart()), "P.syn", "2 times"),
    (
        "synapse in",
        changed(lambda net: net.P.syn.add_current_input("x", lambda g: 0.1)),
        "P.syn",
        "",
    ),
    ("own", lambda: Net(neuron=own(sx.LIF, "update")), "N", "update() of its own (OwnLIF)"),
    (
        "own",
        lambda: Net(neuron=own(sx.LIF, "get_spike", half)),
        "N",
        "get_spike() of its own (OwnLIF)",
    ),
    ("own", changed(step_with(3.0)), "N", "update() of its own (LIF)"),
    ("own", lambda: Net(projection=own(sx.AlignPostProj, "update")), "P", "update() of its own"),
    ("own", lambda: Net(comm=own(sx.EventFixedProb, "accumulate", half)), "P.comm", "accumulate()"),
]


LOST = "for its next step, but what is compiled ends"  # called by hand, some of these work
REFUSED = [  # what the loop cannot make either: that it says what is wrong
    ("no step", variant(silent), "update()", "", LOST),
    ("new spikes", variant(backwards), "P", "", LOST),
    ("late", variant(late), "P", "", LOST),
    ("late", variant(lambda self: (Net.update(self), self.noise()), Noisy), "noise", "", LOST),
    ("elsewhere", changed(leave), "P", "", LOST),
    ("undriven", changed(drives), "P", "", LOST),
    ("twice", NoisyTwice, "noise", "", "already has an input"),
    ("calls", variant(lambda self: self.N(1.5), **apart()), "P.syn", "0 times", "no conductance"),
]


def case_of(table):
    return pytest.mark.parametrize("case", range(len(table)), ids=lambda k: f"{k}-{table[k][0]}")


def told(reason, part, says, why):
    """Whether `why` is this reason of the table, for this part, and says so."""
    what, move = REASONS[reason]
    pattern = re.sub(r"\\{.*?\\}", ".+", re.escape(f"{part} {what}; {move}"))
    return re.fullmatch(pattern, why) and says in why and "\n" not in why


@case_of(LOOPED)
def test_the_part_in_the_way_is_named(case, dt):
    reason, make, part, says = LOOPED[case]
    result = sx.simulate(make(), 0.2, record=reason != "batch")
    assert result.path == "for_loop"
    assert told(reason, part, says, result.why), result.why
    assert result.parts[part] == ("for_loop", result.why)
    others = {name: p for name, p in result.parts.items() if name != part}
    assert "N" in result.parts
    assert {p.path for p in others.values()} <= {"for_loop"}
    assert all(part in p.why for p in others.values())


@case_of(REFUSED)
def test_what_no_path_can_run_is_an_error(case, dt):
    reason, make, part, says, message = REFUSED[case]
    net = make()
    with pytest.raises(NotAPlan) as raised:
        capture(net, ())
    assert told(reason, part, says, raised.value.named(names_of(net))[1])
    with pytest.raises(Exception, match=message):
        sx.simulate(net, 0.2)


def test_every_reason_has_a_case():
    """Those that are left are of tests below, and of the loop."""
    rest = {"backend", "platform", "trace", "traces", "spread"}
    assert {reason for reason, *_ in LOOPED + REFUSED} | rest == {*REASONS}


def test_the_backend_is_a_reason(dt):
    result = sx.simulate(Net(), 0.2, backend="xla")
    assert told("backend", "update()", "'xla'", result.why)
    assert {*result.parts} == {"N", "P", "update()"}


@pytest.mark.parametrize("built", [("cpu",), ("cpu", "cuda")])
def test_another_processor_is_a_reason(built, dt, monkeypatch):
    """A GPU is pretended: what is asked for runs in the loop, on the CPU."""
    monkeypatch.setattr(library, "default_platform", lambda: "cuda")
    monkeypatch.setattr(library, "platforms", lambda name: built)
    plan, how = _plan(Net(), (), record.wanted(sx.record.Trace(), Net(), dt), "native")
    assert plan is None
    assert told("traces" if "cuda" in built else "platform", "update()", "cuda", how["why"])


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("update", [backwards, late])
def test_inputs_of_the_next_step_are_lost_in_no_compiled_loop(update, backend, dt):
    """A loop is traced once: what a step leaves for the next one would reach none."""
    net = variant(update)()
    for _ in range(150):
        net.update()
    assert np.any(net.P.syn.g.value > 0)  # by hand they arrive, a step later
    sx.nn.init_all_states(net)
    with sx.backend(backend), pytest.raises(sx.TraceError, match=LOST):
        sx.transform.for_loop(net.update, length=20)
    with sx.backend(backend), pytest.raises(sx.TraceError, match=LOST):
        sx.transform.jit(net.update)()
    assert [*net.N._current.once(), *net.P.syn._current.once()] == []


def test_a_condition_on_spikes_is_an_error_and_no_plan(dt):
    with pytest.raises(Exception, match="truth value"):
        sx.simulate(stepping(drive=lambda net: 1.5 if net.N.get_spike() else 1.2)(), 1.0)


class All(sx.nn.Module):
    """One part of each kind that the engine knows, and a projection that is not called."""

    def __init__(self):
        super().__init__()
        self.A, self.B = sx.LIFRef(80, tau_ref=2.0), sx.IafPscExp(N)
        to = self.B.receptor(2.0)
        self.AB = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(30, N, 10, 5.0, seed=1), delay=1.5, **to
        )
        self.idle = sx.AlignPostProj(comm=sx.EventFixedProb(N, N, 0.1, 5.0, seed=2), **to)
        self.noise = sx.PoissonInput(rate=8.0, num=900, weight=9.0, seed=1, **to)

    def update(self):
        self.AB(self.A.get_spike()[10:40])
        self.noise()
        self.A(1.5)
        self.B()


def test_every_part_of_a_plan_is_told(dt):
    result = sx.simulate(All(), 5.0)
    assert result.path == "network_run", result.why
    assert {p.path for p in result.parts.values()} == {"network_run"}
    told = {name: part.why for name, part in result.parts.items()}
    assert told == {
        "A": "the kernel lif_ref advances its 80 neurons",
        "B": "the kernel lif_ref advances its 50 neurons",
        "AB": "300 synapses from A[10:40] to B are packed, with delays up to 1.5 ms",
        "idle": "update() does not call it",
        "noise": "events of B are drawn by the kernel poisson",
    }
    report = result.report().splitlines()
    assert report[1] == "network_run: all its parts are known to the engine"
    assert len(report) == 2 + len(told)
    assert all(f"{name}: network_run, {why}" in "\n".join(report) for name, why in told.items())
    assert repr(result).count("\n") == 0


def test_a_trace_that_the_engine_does_not_make_is_named(dt):
    record = {"AB": sx.record.Trace("history"), "A": sx.record.Trace("V")}
    result = sx.simulate(All(), 1.0, record=record)
    assert result.path == "for_loop"
    assert result.parts["AB"].why == result.why
    assert told("trace", "AB", "'history'", result.why)


def test_delays_of_another_dt_are_an_error_on_both_paths(dt):
    for backend in ("native", "xla"):
        net = Net(delay=1.5)
        with sx.environ.context(dt=0.2), pytest.raises(ValueError, match="another dt"):
            sx.simulate(net, 1.0, backend=backend)


@pytest.mark.parametrize("cut", [slice(0, 49), slice(5, 20)])
def test_a_slice_that_does_not_fit_names_both_ends(cut, dt):
    def update(self):
        self.P(self.N.get_spike()[cut])
        self.N(1.5)

    with pytest.raises(ValueError, match=r"P takes 50 sources .* of N\. Give it the slice"):
        sx.simulate(variant(update)(), 1.0)


def test_a_current_that_only_looks_constant_is_seen(dt):
    """Without a record of what was read, the plan would keep the value of the first step."""
    result = sx.simulate(stepping(drive=timed)(), 20.0)
    assert result.spikes["N"].times_ms.min() > 5.0 + 5.0
