"""The packed synapses of network_run: delays, bundles and slices change nothing but speed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_cases import KINDS, SIZES, continued, populations, projections, uneven
from spikexla.connect import CSR
from spikexla.neuron import lif_step
from spikexla.ops import library, network_run
from spikexla.ops.network_run import Population, Port
from spikexla.ops.wiring import MOST_DELAY, Projection, pack


@pytest.fixture
def threads():
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_is_its_reference(kind, threads):
    threads(2)
    native, xla = (
        network_run(populations(), projections(kind), 60, backend=b) for b in ("native", "xla")
    )
    for a, b in zip(native.rasters, xla.rasters, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(int(np.bitwise_count(np.asarray(r)).sum()) for r in native.rasters) > 500
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(xla), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits(kind, threads):
    results = []
    for n in (1, 2, 3, 7):
        threads(n)
        results.append(network_run(populations(), projections(kind), 50, backend="native"))
        if n == 3:
            assert pack(SIZES, (2, 1, 1), projections(kind), np.float32).slices == 3
    for other in results[1:]:
        assert_same(results[0], other)


@pytest.mark.parametrize("cut", [1, 4, 29])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_two_parts_is_the_run(kind, cut):
    whole = network_run(populations(), projections(kind), 50, backend="native")
    first = network_run(populations(), projections(kind), cut, backend="native")
    second = network_run(
        continued(populations(), first), projections(kind), 50 - cut, backend="native"
    )
    assert_same(whole[:3], second[:3])
    for a, b, c in zip(whole.rasters, first.rasters, second.rasters, strict=True):
        np.testing.assert_array_equal(a, np.concatenate([b, c]))


@pytest.mark.parametrize("delay", [0, 1, 5, MOST_DELAY])
def test_a_spike_arrives_its_delay_later(delay):
    """One source that fires once, one target: g jumps in step 1 + delay after the spike's."""
    f = jnp.float32
    params = lif_step.Params(*map(f, (0.0, 1.0, 0.0, 1.0, 0.0, 1.0)))
    pre = Population(lif_step.LIF, 1, lif_step.State(f([1.0])), params, f(0), True, ())
    post = pre._replace(state=lif_step.State(f([0.0])), ports=(Port(f([0.0]), f(1), f(0), False),))
    conn = CSR(np.array([0, 1]), np.array([0]), n_post=1)
    wired = [Projection(0, 0, 1, 1, 0, conn, f(0.25), delay)]
    # The spike that the state stands for belongs to the step before the first.
    for steps, arrived in [(delay, 0.0), (delay + 1, 0.25), (delay + 3, 0.25)]:
        assert (
            float(network_run([pre, post], wired, steps, backend="native").gs[1][0][0]) == arrived
        )


BAD = {
    "negative": (-1, "-1 steps"),
    "too long": (MOST_DELAY + 1, "1024 steps"),
    "not whole": (0.5, "whole numbers of steps"),
    "shape": (np.zeros(3, int), r"shape \(3,\)"),
}


@pytest.mark.parametrize(("delays", "says"), BAD.values(), ids=BAD)
def test_a_wrong_delay_is_named(delays, says):
    conn = uneven(1500, 700, 1)
    with pytest.raises(ValueError, match=says):
        network_run(populations(), [Projection(0, 0, 1500, 1, 0, conn, 0.5, delays)], 3)


def test_synapses_packed_for_another_network_are_refused():
    wiring = pack(SIZES, (1, 1, 1), [], np.float32)
    with pytest.raises(ValueError, match="Pack them again"):
        network_run(populations(), wiring, 3)


def test_a_history_of_another_length_is_refused():
    wrong = [
        p._replace(history=jnp.zeros((2, -(-p.size // 32)), jnp.uint32)) for p in populations()
    ]
    with pytest.raises(ValueError, match="history of shape"):
        network_run(wrong, projections("one delay"), 3)


def test_traced_synapses_are_refused():
    run = jax.jit(
        lambda w: network_run(populations(), [projections("one delay")[0]._replace(weights=w)], 3)
    )
    with pytest.raises(TypeError, match=r"ops\.wiring\.pack"):
        run(jnp.float32(0.5))


def test_double_precision_is_packed_as_such():
    with jax.enable_x64(True):
        a, b = (
            network_run(populations(jnp.float64), projections("bundled"), 20, backend=backend)
            for backend in ("native", "xla")
        )
        assert a.gs[0][0].dtype == np.float64
        for x, y in zip(a.rasters, b.rasters, strict=True):
            np.testing.assert_array_equal(x, y)
