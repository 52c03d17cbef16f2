"""Rates, irregularity and correlation of spike trains whose statistics are known."""

from __future__ import annotations

import importlib.util
import sys

import brainunit as u
import numpy as np
import pytest
from spikexla.network import Spikes, statistics

needs_elephant = pytest.mark.skipif(
    not importlib.util.find_spec("elephant"),
    reason="elephant is not installed: no irregularity and no correlation",
)


def spikes(trains, dt=0.1):
    """Spikes of one list of steps a neuron, in the order of a recording."""
    steps = np.concatenate([np.asarray(t, np.int32) for t in trains])
    ids = np.repeat(np.arange(len(trains), dtype=np.int32), [len(t) for t in trains])
    order = np.lexsort((ids, steps))
    return Spikes(steps[order], ids[order], len(trains), dt)


def test_rates_are_spikes_over_time_also_of_the_silent():
    train = spikes([[0, 5, 9], [], [7]])
    np.testing.assert_allclose(statistics.firing_rates(train, 500.0), [6.0, 0.0, 2.0])
    for same in (500 * u.ms, 0.5 * u.second):
        np.testing.assert_allclose(statistics.firing_rates(train, same), [6.0, 0.0, 2.0])


@pytest.mark.parametrize("time", [0.0, -1.0, np.nan, np.inf, "1s", None, np.ones(2)], ids=str)
@pytest.mark.parametrize("of", [statistics.firing_rates, statistics.correlations])
def test_what_is_no_time_is_refused(of, time):
    with pytest.raises(ValueError, match=r"duration_ms=.* must be one positive, finite time"):
        of(spikes([[1, 2]]), time)


def test_a_time_before_the_last_spike_has_no_rates():
    train = spikes([[0, 19]])
    np.testing.assert_allclose(statistics.firing_rates(train, 20 * train.dt_ms), 1e2 / train.dt_ms)
    with pytest.raises(ValueError, match="Give the time in which they were recorded"):
        statistics.firing_rates(train, 19 * train.dt_ms)


@needs_elephant
def test_irregularity_of_known_trains():
    """A clock 0; intervals 1, 3, 1, 3 a half; two spikes have one interval, which does not vary."""
    train = spikes([range(0, 100, 10), [0, 1, 4, 5, 8], [3, 50], []])
    np.testing.assert_allclose(statistics.cv_isi(train), [0.0, 0.5], atol=1e-12)
    assert statistics.cv_isi(spikes([[3, 4], []])).size == 0
    np.testing.assert_allclose(statistics.cv_isi(train, least=6), [0.0], atol=1e-12)


def test_two_spikes_have_no_irregularity():
    with pytest.raises(ValueError, match="least=2"):
        statistics.cv_isi(spikes([[1, 2, 3]]), least=2)


@needs_elephant
@pytest.mark.parametrize("shape", [1, 4])
def test_irregularity_of_gamma_processes(shape):
    rng = np.random.default_rng(shape)
    trains = [np.unique(np.cumsum(rng.gamma(shape, 500 / shape, 400)).astype(int)) for _ in "1234"]
    assert statistics.cv_isi(spikes(trains)).mean() == pytest.approx(shape**-0.5, rel=0.08)


@needs_elephant
def test_correlation_is_that_of_binned_counts():
    """Beside numpy, with a train twice, its mirror image, a silent neuron and a rest of a bin."""
    rng = np.random.default_rng(0)
    fired = rng.random(1000) < 0.3
    trains = [np.flatnonzero(fired) * 20, np.flatnonzero(fired) * 20 + 3]
    trains += [np.flatnonzero(~fired) * 20, [], np.flatnonzero(rng.random(20_000) < 0.02), [20_005]]
    found = statistics.correlations(spikes(trains), 2001.0, bin_ms=2.0)
    counts = np.array(
        [np.bincount(np.asarray(trains[k]) // 20, minlength=1000) for k in (0, 1, 2, 4)]
    )
    np.testing.assert_allclose(found, np.corrcoef(counts)[np.triu_indices(4, 1)], atol=1e-12)
    np.testing.assert_allclose(found[:2], [1.0, -1.0])


@needs_elephant
def test_a_common_input_correlates():
    """Each train keeps a spike of a common process with probability p: correlation about p."""
    rng = np.random.default_rng(1)
    mother = rng.random(100_000) < 0.02
    trains = [np.flatnonzero(mother & (rng.random(len(mother)) < 0.4)) for _ in range(30)]
    found = statistics.correlations(spikes(trains), 10_000.0, bin_ms=0.1)
    assert len(found) == 30 * 29 // 2
    assert found.mean() == pytest.approx(0.4, rel=0.1)


@needs_elephant
def test_samples_are_seeded_and_bounded():
    rng = np.random.default_rng(2)
    train = spikes([np.flatnonzero(rng.random(2000) < 0.05) for _ in range(50)])
    assert statistics.cv_isi(train, neurons=20).shape == (20,)
    assert statistics.correlations(train, 200.0, neurons=7).shape == (21,)
    same, other = (statistics.cv_isi(train, neurons=20, seed=s) for s in (0, 1))
    np.testing.assert_array_equal(same, statistics.cv_isi(train, neurons=20))
    assert (same != other).any()
    assert statistics.correlations(spikes([[1, 2], []]), 200.0).size == 0


def test_what_has_no_bins_is_refused():
    for width in (0.0, 90.0):
        with pytest.raises(ValueError, match=f"bin_ms={width}"):
            statistics.correlations(spikes([[1]]), 100.0, bin_ms=width)


def test_a_missing_elephant_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "elephant", None)
    monkeypatch.delitem(sys.modules, "elephant.statistics", raising=False)
    with pytest.raises(ImportError, match=r"spikexla\[analysis\]"):
        statistics.cv_isi(spikes([[1, 2, 3]]))
