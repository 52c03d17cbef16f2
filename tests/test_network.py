"""simulate: the engine does what a loop over `update` does, in any chunks, on any threads."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.connect import FixedFanOut, fixed_num_post
from spikexla.neuron import lif_step
from spikexla.ops import library, network_run
from spikexla.ops.network_run import Population, Port
from spikexla.ops.raster import pack_bits, unpack_bits
from spikexla.ops.wiring import Projection

MS = 30.0


class Grid(sx.nn.Module):
    """A row of neurons that feeds a grid; parameters vary along one axis of it."""

    def __init__(self) -> None:
        super().__init__()
        along, across = np.array([3.0, 5.0, 10.0]), np.array([[8.0], [6.0]])
        self.A = sx.LIFRef(4, tau=[4.0, 5.0, 6.0, 7.0], spk_reset="hard")
        self.B = sx.LIF((2, 3), tau=along, R=across)
        self.P = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(4, (2, 3), 5, np.array([[0.5], [1.0], [0.2], [0.7]]), seed=1),
            syn=sx.Expon.desc((2, 3), tau=along),
            out=sx.COBA.desc(E=across),
            post=self.B,
        )

    def update(self):
        self.P(self.A.get_spike())
        self.A(20.0)
        return self.B(np.array([0.0, 0.3, 0.6]))


class Loop(sx.nn.Module):
    """Two populations that drive each other and themselves, each by rows of its own lengths."""

    def __init__(self) -> None:
        super().__init__()
        sx.random.seed(7)
        self.E, self.I = sx.LIFRef(60, tau_ref=2.0), sx.LIF(20, spk_reset="hard")
        self.parts = []
        for k, (pre, post) in enumerate([(60, self.E), (60, self.I), (20, self.E), (20, self.I)]):
            comm = sx.EventFixedProb(pre, post.in_size, 0.2, sx.init.Uniform(0.0, 0.3), seed=k)
            syn, out = sx.Expon(post.in_size, tau=3.0 + k), sx.CUBA(scale=1.0 if k < 2 else -1.0)
            self.parts.append(sx.AlignPostProj(comm=comm, syn=syn, out=out, post=post))

    def update(self):
        spikes = [self.E.get_spike() != 0, self.I.get_spike() != 0]
        for k, part in enumerate(self.parts):
            part(spikes[k // 2])
        self.E(1.5)
        return self.I(np.linspace(0.9, 1.6, 20))


NETWORKS = {
    "coba": lambda: sx.COBANet(200, seed=3),
    "cuba": lambda: sx.CUBANet(200, seed=4),
    "grid": Grid,
    "loop": Loop,
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture
def double(dt):
    """Two roundings do not differ by a spike in 30 ms when they differ in the last of 53 bits."""
    with sx.environ.context(precision=64):
        yield


@pytest.fixture
def all_threads():
    yield
    library.native().set_thread_limit(0)


def values(net):
    return [
        np.asarray(leaf) for state in net.states().values() for leaf in jax.tree.leaves(state.value)
    ]


def recorded(result):
    return {name: (s.steps.tolist(), s.ids.tolist()) for name, s in result.spikes.items()}


def same_bits(net, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(values(net), values(other), strict=True))


# -- the engine is the loop -----------------------------------------------------------------------


@pytest.mark.sampled(1)
@every_network
def test_the_engine_makes_the_spikes_and_states_of_the_loop(name, double):
    fast, slow = NETWORKS[name](), NETWORKS[name]()
    native, xla = sx.simulate(fast, MS), sx.simulate(slow, MS, backend="xla")
    assert (native.path, xla.path) == ("network_run", "for_loop"), native.why
    assert recorded(native) == recorded(xla)
    assert sum(map(len, native.spikes.values())) > 10
    for a, b in zip(values(fast), values(slow), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.sampled(1)
@every_network
def test_the_engine_is_stepping_by_hand(name, double):
    net, by_hand = NETWORKS[name](), NETWORKS[name]()
    sx.simulate(net, 2.0)
    for _ in range(20):
        by_hand()
    for a, b in zip(values(net), values(by_hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@every_network
@pytest.mark.parametrize("chunk", [1, 7, 10**9])
def test_chunks_change_no_bit(name, chunk, dt):
    whole, cut = NETWORKS[name](), NETWORKS[name]()
    result = sx.simulate(whole, MS, chunk=30.0)
    assert recorded(sx.simulate(cut, MS, chunk=chunk / 10)) == recorded(result)
    assert same_bits(whole, cut)


@every_network
def test_threads_change_no_bit(name, dt, all_threads):
    nets = [NETWORKS[name]() for _ in range(4)]
    results = []
    for net, threads in zip(nets, (1, 2, 3, 7), strict=True):
        library.native().set_thread_limit(threads)
        results.append(recorded(sx.simulate(net, MS)))
    assert results == results[:1] * 4
    assert all(same_bits(nets[0], net) for net in nets)


def test_a_run_goes_on_from_the_states_and_over_backends(double):
    whole, parts = sx.COBANet(200, seed=3), sx.COBANet(200, seed=3)
    result = sx.simulate(whole, MS)
    ids = [
        sx.simulate(parts, MS / 3, backend=backend).spikes["N"].ids
        for backend in ("native", "xla", "native")
    ]
    np.testing.assert_array_equal(np.concatenate(ids), result.spikes["N"].ids)


def test_a_new_start_repeats_the_run_and_a_changed_state_counts(dt):
    net = sx.COBANet(200, seed=3)
    first = recorded(sx.simulate(net, MS))
    for start in (sx.nn.init_all_states, sx.nn.reset_all_states):
        start(net)
        assert recorded(sx.simulate(net, MS)) == first
    net.N.V.value = jnp.full(200, -70.0)
    assert len(sx.simulate(net, 1.0).spikes["N"]) == 0


def test_what_is_not_recorded_runs_all_the_same(dt):
    net, other = sx.COBANet(200, seed=3), sx.COBANet(200, seed=3)
    result = sx.simulate(net, MS, record=False)
    sx.simulate(other, MS)
    assert result.rates_hz == {}
    assert same_bits(net, other)


def test_an_interruption_leaves_the_last_finished_chunk(dt):
    net, want = sx.COBANet(200, seed=3), sx.COBANet(200, seed=3)

    def stop(done, steps):
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sx.simulate(net, MS, chunk=5.0, progress=stop)
    sx.simulate(want, 10.0)
    assert same_bits(net, want)


def test_a_spike_is_stamped_with_the_end_of_its_step(dt):
    neuron = Single(sx.LIF(1, tau=10.0, V_th=1.0))
    spikes = sx.simulate(neuron, 0.3, inputs=(1e4,)).spikes["neuron"]
    np.testing.assert_allclose(spikes.times_ms, [0.1, 0.2, 0.3])


class Single(sx.nn.Module):
    def __init__(self, neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def update(self, x=0.0):
        return self.neuron(x)


# -- what is no plain network runs in a loop, and says why ----------------------------------------


class Reads(Single):
    def update(self, x=0.0):
        return self.neuron(x + self.neuron.V.value.mean())


class Twice(Single):
    def update(self, x=0.0):
        self.neuron(x)
        return self.neuron(x)


class Idle(sx.nn.Module):
    def update(self):
        return None


LOOPED = {
    "a state that is read": (lambda: Reads(sx.LIF(3)), "state"),
    "two steps": (lambda: Twice(sx.LIF(3)), "neuron is stepped 2 times"),
    "no neurons": (Idle, "no population"),
}


@pytest.mark.parametrize("case", LOOPED)
def test_other_modules_are_stepped_in_a_loop_for_a_reason(case, dt):
    make, reason = LOOPED[case]
    result = sx.simulate(make(), 1.0)
    assert result.path == "for_loop"
    assert reason in result.why
    assert "\n" not in result.why


def test_batched_populations_run_in_the_loop(dt):
    net = sx.COBANet(200, seed=3)
    sx.nn.init_all_states(net, batch_size=2)
    result = sx.simulate(net, 1.0)
    assert (result.path, net.N.V.value.shape) == ("for_loop", (2, 200))
    assert result.spikes["N"].batch == (2,)
    assert "batch axis" in result.why
    assert "\n" not in result.why


# -- errors ---------------------------------------------------------------------------------------

BAD_CALLS = {
    "nothing": (lambda net: sx.simulate(None, 1.0), TypeError, "no Module"),
    "a class": (lambda net: sx.simulate(sx.COBANet, 1.0), TypeError, "not its class"),
    "no time": (lambda net: sx.simulate(net, 0.0), ValueError, "positive and finite"),
    "less than none": (lambda net: sx.simulate(net, -1.0), ValueError, "positive and finite"),
    "NaN": (lambda net: sx.simulate(net, np.nan), ValueError, "positive and finite"),
    "half a step": (lambda net: sx.simulate(net, 0.04), ValueError, "for example 0.1."),
    "150.3 steps": (lambda net: sx.simulate(net, 15.03), ValueError, "for example 15."),
    "half a step more": (lambda net: sx.simulate(net, 1e6 + 0.05), ValueError, "multiple of dt"),
    "words": (lambda net: sx.simulate(net, "long"), TypeError, "must be a time"),
    "an age": (lambda net: sx.simulate(net, 1e300), ValueError, "steps of dt"),
    "2^31 steps": (lambda net: sx.simulate(net, 2**31 / 10), ValueError, "several calls"),
    "chunks of none": (lambda net: sx.simulate(net, 1.0, chunk=0), ValueError, "chunk=0 must"),
    "half a step a chunk": (
        lambda net: sx.simulate(net, 1.0, chunk=0.04),
        ValueError,
        "chunk=0.04",
    ),
    "a chunk of 2.5": (lambda net: sx.simulate(net, 1.0, chunk=0.25), ValueError, "chunk=0.25"),
    "backend": (lambda net: sx.simulate(net, 1.0, backend="gpu"), ValueError, "'gpu'"),
    "bare inputs": (lambda net: sx.simulate(net, 1.0, inputs=20.0), TypeError, "(20.0,)"),
    "input shape": (
        lambda net: sx.simulate(net, 1.0, inputs=(np.ones(9),)),
        ValueError,
        "shape (9,) to N, a population of shape (200,)",
    ),
    "input in words": (
        lambda net: sx.simulate(net, 1.0, inputs=("much",)),
        TypeError,
        "gives N the input current 'much'",
    ),
    "input NaN": (lambda net: sx.simulate(net, 1.0, inputs=(np.nan,)), ValueError, "NaN"),
    "one neuron": (lambda net: sx.COBANet(1), ValueError, "n=1 must be at least 2"),
    "neurons of a kind": (lambda net: sx.CUBANet("all"), TypeError, "n='all'"),
    "no seed": (lambda net: sx.COBANet(9, seed=None), TypeError, "seed=None"),
    "seed below 0": (lambda net: sx.COBANet(9, seed=-1), ValueError, "seed=-1"),
    "reversal NaN": (lambda net: sx.COBA(E=np.nan), ValueError, "COBA.E is nan"),
    "scale NaN": (lambda net: sx.CUBA(scale=[1.0, np.nan]), ValueError, "CUBA.scale is"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_wrong_calls_are_named_and_change_no_state(case, dt):
    call, error, message = BAD_CALLS[case]
    net, same = sx.COBANet(200, seed=3), sx.COBANet(200, seed=3)
    with pytest.raises(error) as raised:
        call(net)
    assert message in str(raised.value)
    assert same_bits(net, same)


def test_every_seed_of_64_bits_makes_a_network(dt):
    nets = [sx.CUBANet(20, seed=seed) for seed in (0, 2**63, 2**64 - 1)]
    assert len({np.asarray(net.E.comm.conn.indices).tobytes() for net in nets}) == 3


# -- the op ---------------------------------------------------------------------------------------

CONN = fixed_num_post(10, 10, 3, seed=1)


def population(**changes):
    one = dict.fromkeys(lif_step.RefParams._fields, 1.0)
    whole = {
        "kernel": lif_step.LIF_REF,
        "size": 10,
        "state": lif_step.RefState(jnp.zeros(10), jnp.zeros(10)),
        "params": lif_step.RefParams(
            **one | {"rate": 0.2, "V_rest": 0.0, "V_reset": 0.0, "hold": 4.0}
        ),
        "drive": 1.2,
        "hard": True,
        "ports": (Port(jnp.zeros(10), 0.9, 0.1, False),),
    }
    return Population(**whole | changes)


def projection(**changes):
    whole = {"pre": 0, "low": 0, "high": 10, "post": 0, "port": 0, "conn": CONN, "weights": 1.0}
    return Projection(**whole | changes)


BAD_NETWORKS = {
    "no populations": ([], [], 5, "no populations"),
    "steps": ([population()], [], -1, "steps=-1"),
    "half steps": ([population()], [], 2.5, "steps=2.5"),
    "size": ([population(size=9)], [], 5, "population 0 has 9 neurons"),
    "drive": ([population(drive=jnp.ones(3))], [], 5, "shapes [(3,)]"),
    "g": ([population(ports=(Port(jnp.zeros(9), 0.9, 1.0, False),))], [], 5, "shapes [(9,)]"),
    "pre": ([population()], [projection(pre=1)], 5, "do not all exist"),
    "post": ([population()], [projection(post=-1)], 5, "do not all exist"),
    "port": ([population()], [projection(port=1)], 5, "do not all exist"),
    "high": ([population()], [projection(high=11)], 5, "do not all exist"),
    "low": ([population()], [projection(low=-1)], 5, "do not all exist"),
    "sources": ([population()], [projection(low=5)], 5, "10 sources to 10 targets"),
    "weights": ([population()], [projection(weights=jnp.ones(3))], 5, "weights of shape (3,)"),
}


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_what_does_not_fit_together_is_named(case, backend):
    populations, projections, steps, message = BAD_NETWORKS[case]
    with pytest.raises(ValueError, match="network_run") as raised:
        network_run(populations, projections, steps, backend=backend)
    assert message in str(raised.value)


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 9])
def test_the_op_is_its_reference(steps, record):
    native, xla = (
        network_run([population()], [projection()], steps, record=record, backend=backend)
        for backend in ("native", "xla")
    )
    assert [x.shape for x in native.rasters] == [(steps if record else 0, 1)]
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(xla), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_op_maps_over_its_drive():
    def raster(drive, backend):
        return network_run([population(drive=drive)], [projection()], 9, backend=backend).rasters[0]

    drives = jnp.array([0.0, 1.2, 3.0])
    native, xla = (jax.vmap(lambda d, b=b: raster(d, b))(drives) for b in ("native", "xla"))
    np.testing.assert_array_equal(native, xla)
    assert len({x.tobytes() for x in np.asarray(native)}) == 3


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_derivatives_name_the_other_backend(transform):
    def last(drive, backend):
        return network_run([population(drive=drive)], [], 3, backend=backend).states[0].V.sum()

    with pytest.raises(TypeError, match="backend='xla'"):
        transform(lambda d: last(d, "native"))(0.1)
    assert np.isfinite(transform(lambda d: last(d, "xla"))(0.1))


def _outside(x):
    x[3, -1] = 10**6
    return x


def _negative(x):
    x[3, 0] = -5
    return x


@pytest.mark.parametrize("spoil", [_outside, _negative])
def test_rows_that_nobody_checked_are_an_error_and_no_crash(spoil):
    rows = jnp.asarray(spoil(np.array(CONN.indices)))
    spoilt = FixedFanOut.tree_unflatten(10, (rows,))
    with pytest.raises(Exception, match="points outside"):
        jax.block_until_ready(
            network_run([population()], [projection(conn=spoilt)], 5, backend="native")
        )


@pytest.mark.parametrize("size", [1, 31, 32, 33, 100])
def test_bits_come_back_as_steps_and_ids(size):
    spikes = np.random.default_rng(0).random((7, size)) < 0.3
    raster = np.stack([pack_bits(jnp.asarray(row)) for row in spikes])
    assert raster.shape == (7, -(-size // 32))
    for found, want in zip(unpack_bits(raster), np.nonzero(spikes), strict=True):
        np.testing.assert_array_equal(found, want)
