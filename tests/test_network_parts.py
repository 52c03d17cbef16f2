"""What a simulation says about each part: its path and why; the engine never guesses."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
import spikexla as sx

N = 50


class Net(sx.nn.Module):
    """One population with a projection onto itself; a case changes one thing about it."""

    def __init__(self, neuron=sx.LIF, comm=sx.EventFixedProb, projection=sx.AlignPostProj, **how):
        super().__init__()
        syn, out = how.pop("syn", sx.Expon.desc(N)), how.pop("out", sx.CUBA.desc())
        self.N = neuron(N, **how.pop("of_N", {}))
        weights = comm(N, N, 0.3, 0.05, seed=1)
        self.P = projection(comm=weights, syn=syn, out=out, post=self.N, **how)

    def update(self):
        self.P(self.N.get_spike())
        self.N(1.5)


def own(kind, name, result=None):
    """A class like `kind` whose method `name` does something else."""

    def method(self, *args):
        value = getattr(kind, name)(self, *args)
        return value if result is None else result(value)

    return type("Own" + kind.__name__, (kind,), {name: method})


def with_before_update():
    net = Net()
    net.N.add_before_update("kick", lambda: net.N.add_delta_input("kick", jnp.full(N, 0.1)))
    return net


def with_an_input():
    net = Net()
    net.N.add_current_input("bias", lambda V: 0.3)
    return net


def on_the_instance():
    net = Net()
    net.N.update = lambda x: sx.LIF.update(net.N, 3.0)
    return net


def variant(update, **how):
    """A network with another `update`."""

    def make():
        return type("Variant", (Net,), {"update": update})(**how)

    return make


def timed(self):
    self.P(self.N.get_spike())
    self.N(jnp.where(sx.environ.get("t", 0.0) < 5.0, 0.0, 1.5))


def doubled(self):
    self.P(self.N.get_spike() * 2.0)
    self.N(1.5)


def compared(self):
    self.P(self.N.get_spike())
    self.N(1.5 * (self.N.get_spike() == 0))


def branched(self):
    self.P(self.N.get_spike())
    self.N(1.5 if self.N.get_spike() else 1.2)


def every_second(self):
    self.P(self.N.get_spike()[::2])
    self.N(1.5)


def backwards(self):
    self.N(1.5)
    self.P(self.N.get_spike())


def own_potential(self):
    self.P(self.N.get_spike(jnp.ones(N)))
    self.N(1.5)


def direct(self):
    self.P(self.N.get_spike())
    self.N(self.N.get_spike())


def floats(self):
    self.P(jnp.ones(N))
    self.N(1.5)


def silent(self):
    self.P(self.N.get_spike())


def twice(self):
    self.P(self.N.get_spike())
    self.P(self.N.get_spike())
    self.N(1.5)


class Mean(sx.nn.Module):
    """A network that reads the mean of a State."""

    def __init__(self):
        super().__init__()
        self.N = sx.LIF(N)

    def update(self):
        self.N(1.2 + 0.1 * self.N.V.value.mean())


class Direct(sx.nn.Module):
    """A projection that has no synapse."""

    def __init__(self):
        super().__init__()
        self.N = sx.LIF(N)
        self.P = sx.DeltaProj(comm=sx.EventFixedProb(N, N, 0.3, 0.05, seed=1), post=self.N)

    def update(self):
        self.P(self.N.get_spike())
        self.N(1.5)


EARLY = sx.surrogate.ReluGrad()
half = lambda x: x * 0.5  # noqa: E731  as short as what it does

LOOPED = {  # how to make it; the part that stands in the way; what is said of it
    "own update": (lambda: Net(own(sx.LIF, "update")), "N", "update() of its own (OwnLIF)"),
    "update of one": (on_the_instance, "N", "update() of its own"),
    "own spikes": (lambda: Net(own(sx.LIF, "get_spike", half)), "N", "get_spike() of its own"),
    "own spk_fun": (
        lambda: Net(of_N={"spk_fun": lambda x: (x > -0.3).astype(x.dtype)}),
        "N",
        "spk_fun of its own",
    ),
    "before update": (with_before_update, "N", "before update 'kick'"),
    "input": (with_an_input, "N", "input 'bias'"),
    "own projection": (
        lambda: Net(projection=own(sx.AlignPostProj, "update")),
        "P",
        "update() of its own",
    ),
    "own weights": (
        lambda: Net(comm=own(sx.EventFixedProb, "accumulate", half)),
        "P.comm",
        "accumulate() of its own",
    ),
    "own decay": (
        lambda: Net(syn=own(sx.Expon, "decay", half)(N), out=sx.CUBA()),
        "N",
        "no Expon with COBA or CUBA",
    ),
    "modules": (
        lambda: Net(syn=sx.Expon(N), out=sx.CUBA(), differentiable_delay=True, delay=0.5),
        "P",
        "delayed floats",
    ),
    "no synapse": (Direct, "P", "is a DeltaProj"),
    "time": (variant(timed), "update()", "uses the state environ.t"),
    "state": (Mean, "update()", "uses the state N.V"),
    "arithmetic": (variant(doubled), "N", "computes with (arithmetic)"),
    "comparison": (variant(compared), "N", "computes with (a comparison)"),
    "every second": (
        variant(every_second, comm=lambda n, *a, **k: sx.EventFixedProb(n // 2, *a, **k)),
        "N",
        "slice(None, None, 2)",
    ),
    "backwards": (variant(backwards), "P", "spikes of this step"),
    "own potential": (variant(own_potential), "N", "another potential"),
    "direct": (variant(direct), "N", "gets spikes as its current"),
    "floats": (variant(floats), "P", "something else than spikes"),
    "no step": (variant(silent), "update()", "steps no population"),
    "twice": (
        lambda: variant(twice, syn=sx.Expon(N), out=sx.CUBA())(),
        "P.syn",
        "advanced 2 times",
    ),
}


@pytest.mark.parametrize("case", LOOPED)
def test_the_part_in_the_way_is_named_and_the_loop_makes_the_steps(case, dt):
    make, part, says = LOOPED[case]
    (net, same), results = (make(), make()), []
    for made, backend in ((net, "native"), (same, "xla")):
        results.append(sx.simulate(made, 10.0, backend=backend))
    result, want = results
    assert result.path == "for_loop"
    assert result.why.startswith(f"{part} "), result.why
    assert says in result.why
    assert "; " in result.why, "the next move"
    assert "\n" not in result.why
    assert result.parts[part] == ("for_loop", result.why)
    others = {name: p for name, p in result.parts.items() if name != part}
    assert {"N"} <= {*result.parts}
    assert {p.path for p in others.values()} <= {"for_loop"}
    assert all(part in p.why for p in others.values())
    assert want.why == "the backend is 'xla'"
    assert {p.why for p in want.parts.values()} == {want.why}
    assert result.spikes["N"].ids.tolist() == want.spikes["N"].ids.tolist()


def test_a_condition_on_spikes_is_an_error_and_no_plan(dt):
    with pytest.raises(Exception, match="truth value"):
        sx.simulate(variant(branched)(), 1.0)


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
    assert "AB has its State 'history' traced" in result.why


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
    result = sx.simulate(variant(timed)(), 20.0)
    assert result.spikes["N"].times_ms.min() > 5.0 + 5.0
