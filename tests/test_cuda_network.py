"""network_run on a GPU gives the CPU's bits: its kernels, compiled for the host.

cuda/host/cuda_runtime.h says how. What only a GPU can show, scripts/gpu_smoke.py checks there.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from cuda_on_host import same_bits
from network_cases import KINDS, SIZES, continued, populations, projections, rich
from spikexla.connect import CSR
from spikexla.network import engine
from spikexla.neuron import lif_step
from spikexla.ops import library, network_run, wiring
from spikexla.ops.network_run import Population, Port
from spikexla.ops.wiring import Projection, pack
from test_network_engine import Net

PORTS = (2, 1, 1)


@pytest.fixture
def sliced(monkeypatch):
    """Cuts networks into that many slices, as for a GPU with so many multiprocessors."""
    return lambda n: monkeypatch.setattr(wiring, "_slices", lambda *_: n)


@pytest.fixture
def on_gpu(monkeypatch):
    """on_gpu(*platforms): JAX computes on a GPU, and kernels were built for these platforms."""
    engine._compiled.cache_clear()

    def pretend(*platforms):
        monkeypatch.setattr(library, "default_platform", lambda: "cuda")
        monkeypatch.setattr(library, "platforms", lambda name: platforms)

    yield pretend
    engine._compiled.cache_clear()


def run(pops, steps, **options):
    """A function of the packed synapses."""
    return lambda packed: network_run(pops, packed, steps, backend="native", **options)


def spikes(results):
    return sum(int(np.bitwise_count(r).sum()) for r in results[-3:])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_wiring_has_the_same_bits(kind, dtype, sliced, on_host):
    sliced(5)
    packed = pack(SIZES, PORTS, projections(kind), dtype)
    want, got = on_host(run(populations(dtype), 25), packed)
    assert spikes(want) > 150
    same_bits(want, got)


@pytest.mark.parametrize("slices", [1, 2, 13, 40])
def test_any_number_of_slices_has_the_same_bits(slices, sliced, on_host):
    """In doubles the inputs of one slice of all are too many for shared memory; 40 leave some
    slices without neurons."""
    sliced(slices)
    packed = pack(SIZES, PORTS, projections("bundled"), np.float64)
    want, got = on_host(run(populations(np.float64), 12), packed)
    assert spikes(want) > 50
    same_bits(want, got)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_every_kind_of_input_has_the_same_bits(dtype, sliced, on_host):
    """Conductances, Poisson inputs, parameters of each neuron, soft resets, all models."""
    sliced(3)
    packed = pack(SIZES, PORTS, projections("bundled"), dtype)
    want, got = on_host(run(rich(dtype), 25), packed)
    assert spikes(want) > 100
    same_bits(want, got)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("record", [True, False])
def test_few_steps_have_the_same_bits(steps, record, sliced, on_host):
    sliced(4)
    packed = pack(SIZES, PORTS, projections("bundled"), np.float32)
    same_bits(*on_host(run(populations(), steps, record=record), packed))


def test_a_run_in_two_parts_is_the_run(sliced, on_host):
    sliced(4)
    packed = pack(SIZES, PORTS, projections("bundled"), np.float32)

    def in_two(packed):
        pops = rich()
        first = network_run(pops, packed, 7, backend="native")
        return network_run(continued(pops, first), packed, 8, backend="native")

    whole, _ = on_host(run(rich(), 15), packed)
    _, parts = on_host(in_two, packed)
    same_bits(whole[:-3], parts[:-3])
    same_bits([r[7:] for r in whole[-3:]], parts[-3:])


def test_many_spikes_at_one_target_are_added_in_order(sliced, on_host):
    """900 sources fire together onto targets that share a row of the queue, 1024 apart."""
    sliced(1)
    f, rng = np.float32, np.random.default_rng(3)
    n_pre, n_post = 900, 2100
    shared = map(f, (0.005, 1.0, -60.0, -50.0, -60.0, 0.1, 19.0))
    params = lif_step.RefParams(*shared)
    at_once = lif_step.RefState(jnp.full(n_pre, f(-49.0)), jnp.zeros(n_pre, f))
    at_rest = lif_step.RefState(jnp.full(n_post, f(-60.0)), jnp.zeros(n_post, f))
    port = Port(jnp.asarray(rng.random(n_post), f), f(0.9), f(0.1), False)
    pops = [
        Population(lif_step.LIF_REF, n_pre, at_once, params, f(0.0), True, ()),
        Population(lif_step.LIF_REF, n_post, at_rest, params, f(0.0), True, (port,)),
    ]
    few = np.sort([rng.choice([0, 1, 7, 1024, 1025, 2048], 5, False) for _ in range(n_pre)], 1)
    conn = CSR(np.arange(n_pre + 1) * 5, few.reshape(-1), n_post)
    weights = np.exp(rng.normal(0, 6, few.size)).astype(f)  # of sizes that do not commute
    packed = pack((n_pre, n_post), (0, 1), [Projection(0, 0, n_pre, 1, 0, conn, weights)], f)
    want, got = on_host(run(pops, 3), packed)
    assert max(g.max() for g in want if g.dtype == f) > 1e5
    same_bits(want, got)


@pytest.mark.parametrize(
    "make",
    [lambda: sx.network.COBANet(400, seed=1), lambda: Net("synapse", n=(700, 300))],
    ids=["COBANet", "delays and Poisson inputs"],
)
def test_simulate_runs_its_networks_on_a_gpu(make, instead, on_gpu):
    sx.environ.set(dt=0.1)
    net, other = make(), make()
    want = sx.simulate(net, 4.0)
    with instead() as calls:
        on_gpu("cpu", "cuda")
        got = sx.simulate(other, 4.0, chunk=2.3)
    assert got.path == "network_run", got.why
    assert calls == ["spikexla.network_run.v1"] * 2
    assert sum(len(s) for s in want.spikes.values()) > 20
    for name, its in want.spikes.items():
        np.testing.assert_array_equal(got.spikes[name].ids, its.ids)
        np.testing.assert_array_equal(got.spikes[name].steps, its.steps)
    for a, b in zip(net.states().values(), other.states().values(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_simulate_says_why_a_gpu_has_no_network_run(on_gpu):
    on_gpu("cpu")
    sx.environ.set(dt=0.1)
    result = sx.simulate(sx.network.COBANet(400, seed=1), 0.3)
    assert result.path == "for_loop"
    assert result.why.startswith("update() runs on cuda, for which no kernels were built; ")


def test_a_gpu_gets_a_slice_a_multiprocessor_if_the_synapses_are_many(on_gpu):
    on_gpu("cpu", "cuda")
    assert wiring.most_slices() == 128  # the CPU does not say
    assert wiring._slices(neurons=100_000, synapses=10**8, runs=10**6) == 128
    assert wiring._slices(neurons=640, synapses=10**8, runs=10**6) == 10
    assert wiring._slices(neurons=100_000, synapses=10**7, runs=10**6) == 20
    assert wiring._slices(neurons=10, synapses=0, runs=0) == 1
