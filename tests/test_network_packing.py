"""Synapses packed straight from their rule: the bits of those that were drawn as arrays first."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from drawn_cases import DELAYS, RULES, WEIGHTS, Net, assert_same, run
from spikexla.connect import CSR, FixedProb, FixedTotal, Normal, base
from spikexla.connect.drawn import describe
from spikexla.ops import library
from spikexla.ops.wiring import Projection, pack

# rule, weight, delay: every rule with laws, every other choice with two rules.
CASES = [(rule, "law", "law") for rule in RULES]
CASES += [(rule, w, "law") for rule in ("prob", "out") for w in ("number", "init")]
CASES += [(rule, "law", d) for rule in ("prob", "out") for d in DELAYS if d != "law"]
CASES += [("total", "number", "number")]


@pytest.fixture(autouse=True)
def threads():
    sx.environ.set(dt=0.1)
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_rule_and_its_arrays_are_the_same_network(case, threads):
    its = RULES[case[0]], WEIGHTS[case[1]], DELAYS[case[2]]
    threads(2)
    net = Net(*its)
    direct = run(net)
    if case[1] != "init":
        assert all(comm.undrawn for comm in net.comms)  # nobody has asked for the arrays
    arrays = Net(*its)
    assert all(comm.conn.nnz for comm in arrays.comms)
    assert_same(direct, run(arrays))
    threads(1)
    assert_same(direct, run(Net(*its)))


class Stepped(Net):
    """The same network, which the engine does not recognise: it asks for the arrays in its loop."""

    def update(self):
        super().update()
        return self.cells[0].V.value


@pytest.mark.parametrize("rule", ["total", "prob"])
def test_a_rule_is_the_same_network_step_by_step(rule):
    its = RULES[rule], WEIGHTS["law"], Normal(0.4, 0.2, low=0.05, high=0.6)
    stepped = Stepped(*its)
    assert_same(run(Net(*its)), run(stepped))
    assert not any(comm.undrawn for comm in stepped.comms)


def test_trained_weights_are_packed_again():
    its = RULES["prob"], WEIGHTS["law"], DELAYS["law"]
    net, fresh = Net(*its), Net(*its)
    first = run(net)
    sx.nn.init_all_states(net)
    assert_same(first, run(net))
    for each in (net, fresh):
        sx.nn.init_all_states(each)
        for comm in each.comms:
            comm.weight.value = comm.weight.value * 2
    changed = run(net)
    assert_same(changed, run(fresh))
    assert not np.array_equal(first[-1], changed[-1])
    # A weight of one's own is kept when the synapses are asked for.
    own = Net(*its)
    for comm in own.comms:
        comm.weight = sx.ParamState(jnp.float32(30.0))
    single = run(own)
    assert all(comm.undrawn for comm in own.comms)
    assert own.comms[0].conn.nnz == fresh.comms[0].conn.nnz
    assert own.comms[0].weight.value == 30.0
    sx.nn.init_all_states(own)
    assert_same(single, run(own))


@pytest.mark.parametrize("flags", [{"allow_autapses": False}, {"allow_multapses": False}])
@pytest.mark.parametrize("rule", ["total", "out", "prob"])
def test_pairs_are_left_out_in_both(rule, flags):
    its = RULES[rule], WEIGHTS["law"], DELAYS["law"]
    arrays = Net(*its, **flags)
    assert all(comm.conn.nnz for comm in arrays.comms)
    assert_same(run(Net(*its, **flags)), run(arrays))


def test_memory_is_refused_for_the_whole_before_any_is_taken(monkeypatch):
    net = Net(FixedTotal(400_000), WEIGHTS["law"], DELAYS["law"])
    # 800 000 synapses of 6 bytes, and runs: each array alone would fit.
    monkeypatch.setattr(base, "available_memory", lambda: 4_900_000)
    told = r"network's 800000 synapses, .* need 0.00\d+ GB, but 0.0049 GB are free. Use fewer"
    with pytest.raises(MemoryError, match=told):
        sx.simulate(net, 0.1)
    assert all(comm.undrawn for comm in net.comms)
    monkeypatch.setattr(base, "available_memory", lambda: 8_000_000)
    assert sx.simulate(net, 0.1).path == "network_run"


@pytest.mark.parametrize("network", [sx.network.COBANet, sx.network.CUBANet])
def test_memory_is_refused_before_neurons_are_made(network, dt, monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 10**10)
    with pytest.raises(MemoryError, match="targets of 1000000000 neurons need 320 GB, but 10 GB"):
        network(10**9)


def test_memory_is_refused_before_anything_is_drawn(monkeypatch):
    conn = describe(FixedProb(0.3), 10**6, 10**6, 1, True, True, None, None).native()
    monkeypatch.setattr(base, "available_memory", lambda: 10**10)
    with pytest.raises(MemoryError, match=r"300000000000 synapses, .* need 1.2e.03 GB, but 10 GB"):
        pack((10**6,), (1,), [Projection(0, 0, 10**6, 0, 0, conn, 1.0)], np.float32)


@pytest.mark.parametrize(
    ("indptr", "indices", "text"),
    [
        ([0, 2], [3, 1], "rows are not ascending"),
        ([0, 2], [1, 5], "points outside"),
        ([0, 2], [-1, 1], "points outside"),
        ([0, 3], [1, 2], "targets do not fit"),
    ],
)
def test_connectivity_that_nobody_checked_is_refused(indptr, indices, text):
    conn = CSR.tree_unflatten(5, [jnp.asarray(x) for x in (indptr, indices)])
    with pytest.raises(ValueError, match=text):
        pack((1, 5), (0, 1), [Projection(0, 0, 1, 1, 0, conn, 1.0)], np.float32)
