"""Poisson inputs: the engine draws what the reference draws, and that is Poisson."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.neuron import lif_step
from spikexla.ops import library, network_run
from spikexla.ops.network_run import Poisson, Population, Port
from spikexla.ops.poisson import generators, poisson_counts, poisson_thresholds

RATES = [0.0, 1e-6, 0.03, 1.28, 2.32, 17.0, 60.0]


def moments(events):
    """(probabilities, of 0 ... n) from the thresholds."""
    c = poisson_thresholds(events).astype(np.float64) / 2.0**32
    return np.diff(np.concatenate([[0.0], c, [1.0]]))


@pytest.mark.parametrize("events", RATES)
def test_thresholds_are_the_poisson_distribution(events):
    p = moments(events)
    k = np.arange(p.size)
    assert (p >= 0).all()
    assert abs((k * p).sum() - events) < 1e-6 * max(events, 1)
    assert abs(((k - events) ** 2 * p).sum() - events) < 1e-5 * max(events, 1)


def test_the_generators_are_xoshiro128plusplus():
    """Against the published algorithm, in plain Python, for every lane and round."""
    rng = generators(3, 130)
    after, counts = poisson_counts(rng, poisson_thresholds(1.5), 130)
    mask, c = 2**32 - 1, poisson_thresholds(1.5).tolist()

    def rotated(x, k):
        return (x << k | x >> (32 - k)) & mask

    want, state = {}, np.asarray(rng).astype(object)
    for g in range(3):
        for lane in range(16):
            s = [int(x) for x in state[g, :, lane]]
            for r in range(4):
                word = (rotated((s[0] + s[3]) & mask, 7) + s[0]) & mask
                t = (s[1] << 9) & mask
                s[2] ^= s[0]
                s[3] ^= s[1]
                s[1] ^= s[2]
                s[0] ^= s[3]
                s[2] ^= t
                s[3] = rotated(s[3], 11)
                want[64 * g + 16 * r + lane] = sum(word >= x for x in c)
            assert s == [int(x) for x in np.asarray(after)[g, :, lane]]
    assert counts.tolist() == [want[i] for i in range(130)]


@pytest.mark.parametrize("events", [0.03, 1.28, 17.0])
def test_counts_follow_the_distribution(events):
    """Chi-square over 2e5 draws, and no correlation between neurons or steps."""
    n, steps = 2000, 100
    rng, drawn = generators(1, n), []
    step = jax.jit(lambda r: poisson_counts(r, poisson_thresholds(events), n))
    for _ in range(steps):
        rng, counts = step(rng)
        drawn.append(np.asarray(counts))
    drawn = np.stack(drawn)
    expected = moments(events) * drawn.size
    seen = np.bincount(drawn.ravel(), minlength=expected.size)
    common = expected > 10
    chi2 = ((seen - expected)[common] ** 2 / expected[common]).sum()
    freedom = common.sum() - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)
    z = (drawn - events) / np.sqrt(events)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / np.sqrt(drawn.size)
    assert abs((z[:, 1:] * z[:, :-1]).mean()) < 5 / np.sqrt(drawn.size)


def populations(sizes=(1100, 1999), weight=0.4, dtype=jnp.float32):
    """Neurons that only random spikes make fire; the second population has two inputs."""
    made = []
    for k, n in enumerate(sizes):
        f = lambda x: jnp.asarray(x, dtype)  # noqa: E731
        state = lif_step.RefState(f(np.full(n, -60.0)), f(np.zeros(n)))
        params = lif_step.RefParams(*map(f, (0.02, 1.0, -60.0, -50.0, -60.0, 0.1, 19.0)))
        its = tuple(Port(f(np.zeros(n)), f(0.9), f(3.0), False) for _ in range(k + 1))
        each = f(np.linspace(0.1, weight, n))
        random = tuple(
            Poisson(j, generators(10 * k + j, n), poisson_thresholds(1.3), w)
            for j, w in zip(range(k + 1), (f(weight), each), strict=False)
        )
        made.append(Population(lif_step.LIF_REF, n, state, params, f(0), True, its, random))
    return made


@pytest.fixture
def threads():
    native = library.native()
    before = native.thread_limit()
    yield native.set_thread_limit
    native.set_thread_limit(before)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_engine_draws_what_the_reference_draws(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        native, xla = (
            network_run(populations(dtype=dtype), [], 80, backend=b) for b in ("native", "xla")
        )
        for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(xla), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        fired = [int(np.bitwise_count(np.asarray(r)).sum()) for r in native.rasters]
        assert min(fired) > 500


def test_threads_and_cuts_change_no_draw(threads):
    results = []
    for n in (1, 2, 3):
        threads(n)
        results.append(network_run(populations(), [], 40, backend="native"))
    first = network_run(populations(), [], 17, backend="native")
    onward = [
        p._replace(
            state=s,
            ports=tuple(q._replace(g=g) for q, g in zip(p.ports, gs, strict=True)),
            poissons=tuple(q._replace(rng=r) for q, r in zip(p.poissons, its, strict=True)),
        )
        for p, s, gs, its in zip(
            populations(), first.states, first.gs, first.generators, strict=True
        )
    ]
    results.append(
        network_run(onward, [], 23, backend="native")._replace(rasters=results[0].rasters)
    )
    for other in results[1:]:
        for a, b in zip(jax.tree.leaves(results[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_input_without_its_port_is_named():
    first, second = populations()
    wrong = first._replace(poissons=(first.poissons[0]._replace(port=4),))
    with pytest.raises(ValueError, match=r"to port \[4\]"):
        network_run([wrong, second], [], 3)
