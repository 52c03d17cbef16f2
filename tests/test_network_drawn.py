"""Synapses that are not stored: the bits of those that are."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from drawn_cases import DELAYS, RULES, WEIGHTS, N, Net, assert_same, run
from spikexla.connect import CSR, FixedProb, FixedTotal, base
from spikexla.connect.drawn import describe
from spikexla.neuron import lif_step
from spikexla.ops import library, wiring
from spikexla.ops.network_run import Population, Port, network_run
from spikexla.ops.wiring import Projection, pack

CASES = [(rule, "law", "law") for rule in RULES]
CASES += [("prob", "number", "number"), ("out", "number", "a source"), ("total", "law", "none")]


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Sets the number of threads; each gets a slice, of which the population has enough."""
    sx.environ.set(dt=0.1)
    monkeypatch.setattr(wiring, "WORTH", 2 * N // 7)
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_synapses_that_are_not_stored_give_the_same_bits(case, threads):
    its = RULES[case[0]], WEIGHTS[case[1]], DELAYS[case[2]]
    threads(2)
    want = run(Net(*its))
    assert want[0].size  # there are spikes
    for number, how in ((1, {}), (2, {"chunk": 0.7}), (3, {}), (7, {"chunk": 1.5})):
        threads(number)
        net = Net(*its, stored=False)
        assert_same(want, run(net, **how))
        assert all(comm.undrawn for comm in net.comms)


def test_stored_and_not_stored_continue_each_other(threads):
    threads(3)
    its = RULES["prob"], WEIGHTS["law"], DELAYS["law"]
    a, b = Net(*its), Net(*its, stored=False)
    run(a)
    run(b)
    for old, new in zip(a.states().values(), b.states().values(), strict=True):
        new.value = old.value
    assert_same(run(a), run(b))


def test_one_projection_that_is_not_stored_is_enough():
    its = RULES["out"], WEIGHTS["law"], DELAYS["law"]
    want = run(Net(*its))
    net = Net(*its)
    assert net.comms[0].conn.nnz  # arrays, which rows are read from
    net.comms[1].stored = False
    assert_same(want, run(net))


def test_memory_does_not_bound_them(monkeypatch):
    its = FixedProb(0.02), WEIGHTS["law"], DELAYS["law"]
    monkeypatch.setattr(base, "available_memory", lambda: 300_000)
    with pytest.raises(MemoryError, match="synapses, packed, need"):
        run(Net(*its))
    run(Net(*its, stored=False))


@pytest.mark.parametrize("rule", RULES)
def test_synapses_are_counted_without_arrays(rule):
    comm = sx.EventDrawn(N, N, RULES[rule], 1.0, seed=1)
    number = comm.count_synapses()
    assert comm.undrawn
    assert number == comm.conn.nnz == comm.count_synapses()


@pytest.mark.parametrize("name", ["conn", "weight", "delay"])
def test_arrays_that_are_not_stored_are_refused(name):
    net = Net(RULES["total"], WEIGHTS["law"], DELAYS["law"], stored=False)
    with pytest.raises(ValueError, match=f"{name} is asked for, but the synapses are not stored"):
        getattr(net.comms[0], name)
    with pytest.raises(ValueError, match="Use stored=True"):
        Net(RULES["total"], WEIGHTS["init"], None, stored=False)


def test_the_loop_refuses_them():
    net = Net(RULES["total"], WEIGHTS["law"], DELAYS["law"], stored=False)
    with pytest.raises(ValueError, match="not stored: only the engine"):
        sx.simulate(net, 1.0, backend="xla")


def lif(n):
    """A population of the op itself, all of whose neurons have just spiked."""
    params = dict.fromkeys(lif_step.RefParams._fields, 1.0)
    params |= {"rate": 0.2, "V_rest": 0.0, "V_reset": 0.0, "hold": 4.0}
    return Population(
        kernel=lif_step.LIF_REF,
        size=n,
        state=lif_step.RefState(jnp.full(n, 2.0), jnp.zeros(n)),
        params=lif_step.RefParams(**params),
        drive=1.2,
        hard=True,
        ports=(Port(jnp.zeros(n), 0.9, 0.1, False),),
    )


def not_stored(conn, n):
    return pack((n,), (1,), [Projection(0, 0, n, 0, 0, conn, 1.0)], np.float32, stored=False)


def test_what_rows_are_drawn_from_may_not_be_gone():
    conn = describe(FixedProb(0.1), 50, 50, 1, True, True, None, None).native()
    held = not_stored(conn, 50)
    jitted = jax.jit(lambda w: network_run([lif(50)], w, 3).gs)
    assert float(jitted(held)[0][0].sum()) > 0
    arrays = jax.tree.map(jnp.asarray, jax.tree.leaves(held))
    copy = held.with_arrays(*arrays)
    del held
    gc.collect()
    with pytest.raises(Exception, match="drawn from is gone: keep what pack returned"):
        jax.block_until_ready(jitted(copy))
    with pytest.raises(ValueError, match="native engine on the CPU only"):
        network_run([lif(50)], not_stored(conn, 50), 3, backend="xla")


def test_a_source_of_another_network_is_refused():
    conn = [describe(FixedTotal(90), n, n, 1, True, True, None, None).native() for n in (50, 40)]
    a, b = not_stored(conn[0], 50), not_stored(conn[1], 40)
    mixed = a.with_arrays(*jax.tree.leaves(b))
    with pytest.raises(Exception, match="rows do not fit the populations"):
        jax.block_until_ready(network_run([lif(50)], mixed, 3).gs)


def test_rows_that_nobody_checked_are_refused():
    arrays = [jnp.asarray(x) for x in ([0, 2, 2], [0, 5])]
    wrong = not_stored(CSR.tree_unflatten(2, arrays), 2)
    with pytest.raises(Exception, match="points outside of its population"):
        jax.block_until_ready(network_run([lif(2)], wrong, 3).gs)


@pytest.mark.parametrize("stored", [True, False])
def test_weights_and_delays_may_lie_apart_in_memory(stored):
    conn = sx.EventFixedProb(800, 800, 0.1, 1.0, seed=1).conn
    weights = np.linspace(0, 1, 2 * conn.nnz, dtype=np.float32)[::2]
    delays = (np.arange(3 * conn.nnz) % 5)[::3]
    assert not any(x.flags.c_contiguous for x in (weights, delays))

    def spikes(*arrays):
        its = [Projection(0, 0, 800, 0, 0, conn, *arrays)]
        wiring = pack((800,), (1,), its, np.float32, stored=stored)
        return np.asarray(network_run([lif(800)], wiring, 20).gs[0][0])

    want = spikes(weights.copy(), delays.copy())
    assert np.any(want)
    for _ in range(5):
        np.testing.assert_array_equal(spikes(weights, delays), want)


def test_a_microcircuit_need_not_be_stored():
    results = []
    for stored in (True, False):
        net = sx.network.Microcircuit(0.02, seed=5, stored=stored)
        spikes = sx.simulate(net, 30.0).spikes.values()
        results.append([np.asarray(x) for s in spikes for x in (s.steps, s.ids)])
    assert_same(*results)
