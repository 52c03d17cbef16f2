"""Figures: rasters of samples, distributions in bins that fit their values."""

from __future__ import annotations

import numpy as np
import pytest
from spikexla.viz import distributions, raster

pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")


@pytest.mark.parametrize("spikes", [0, 5000])
def test_rasters_show_a_sample_of_large_populations(spikes, tmp_path):
    from matplotlib.figure import Figure

    draw = np.random.default_rng(0)
    populations = {
        name: (draw.uniform(0, 100, spikes), draw.integers(0, n, spikes), n)
        for name, n in (("E", 80_000), ("I", 20_000))
    }
    axis = Figure().subplots()
    assert raster._draw_raster(axis, populations, raster.MOST_NEURONS, 1.0) == 1000
    shown = np.concatenate([dots.get_offsets() for dots in axis.collections])
    assert len(shown) <= 2 * spikes / 50
    assert ((shown[:, 1] >= 0) & (shown[:, 1] < 1000)).all()
    raster.save_raster(tmp_path / "raster.png", populations, duration_ms=100.0)
    assert (tmp_path / "raster.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("quantum", "most"), [(0.5, 9), (2.0, 300), (0.1, 3)], ids=["few", "many", "fine"]
)
def test_each_bin_of_a_rate_has_as_many_possible_values(quantum, most):
    """Rates are multiples of one spike in the duration."""
    rates = np.random.default_rng(1).integers(0, most + 1, 5000) * quantum
    edges = distributions._edges(rates, signed=False)
    possible, _ = np.histogram(np.arange(len(edges) * most) * quantum, edges)
    assert len(set(possible)) == 1
    assert 2 <= len(edges) <= distributions._BINS + 2
    assert np.histogram(rates, edges)[0].sum() >= 0.99 * len(rates)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("data", [[], [0.0], [0.7] * 9, [-0.1, 0.0, 0.2], [1.0, 1.0 + 1e-15]])
def test_bins_of_little_data_rise(data, signed):
    edges = distributions._edges(np.array(data), signed=signed)
    assert (np.diff(edges) > 0).all()
    assert np.isfinite(edges).all()
    assert len(edges) <= distributions._BINS + 2


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["E", "I"], {"": ["E", "I"]}),
        (["L4E", "L4I", "L6E"], {"L4": ["L4E", "L4I"], "L6": ["L6E"]}),
        (["N"], {"N": ["N"]}),
    ],
    ids=str,
)
def test_kinds_of_a_layer_share_a_row(names, rows):
    assert distributions._layers(names) == rows


def test_distributions_are_drawn_of_what_there_is(tmp_path):
    values = {
        "L4E": {"rate": [1.0, 2.0, np.nan], "cv": [0.5], "cc": [-0.01, 0.02]},
        "L4I": {"rate": [0.0, 0.0], "cv": [], "cc": []},
        "N": {"rate": np.arange(3.0)},
    }
    path = tmp_path / "distributions.png"
    distributions.save_distributions(path, values, title="three")
    assert path.read_bytes().startswith(b"\x89PNG")
