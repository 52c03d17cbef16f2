"""The distributions of rate, irregularity and correlation over a network's neurons."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

TITLES = {"rate": "rate (Hz)", "cv": "CV of intervals", "cc": "correlation"}

_COLOURS = {"E": "#1f5fa8", "I": "#c8442d"}
_OTHER = "#4f4f4f"
_BINS = 40


def save_distributions(
    path: str | os.PathLike,
    values: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "",
) -> None:
    """Draws `{population: {'rate': (n,), 'cv': (m,), 'cc': (pairs,)}}` into an image file.

    A column for each quantity, a row for each layer: names that differ in a last E or I share one,
    so L23E and L23I. A histogram shows densities, the line the mean. What is not finite is left
    out.

    >>> save_distributions("distributions.png", {"E": {"rate": [4.0, 5.0]}})   # doctest: +SKIP
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = _layers(list(values))
    quantities = [q for q in TITLES if any(q in of for of in values.values())]
    figure = Figure(figsize=(9, 1.1 + 1.7 * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(layers), len(quantities), squeeze=False, sharex="col")
    for column, quantity in enumerate(quantities):
        data = {name: _finite(of.get(quantity, ())) for name, of in values.items()}
        edges = _edges(np.concatenate([*data.values(), np.zeros(0)]), signed=quantity == "cc")
        for row, (layer, names) in zip(axes, layers.items(), strict=True):
            axis = row[column]
            for name in names:
                _draw(axis, data[name], edges, name)
            axis.set_yticks([])
            axis.set_ylim(bottom=0)
            axis.spines[["top", "right", "left"]].set_visible(False)
            axis.legend(fontsize=8, frameon=False, handlelength=1.0, title_fontsize=8, title="mean")
            if column == 0:
                axis.set_ylabel(layer)
        axes[-1][column].set_xlabel(TITLES[quantity])
        axes[-1][column].set_xlim(edges[0], edges[-1])
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=150, format="png")


def _layers(names: list[str]) -> dict[str, list[str]]:
    """Which populations share a row, by its label."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name[:-1] if name[-1:] in _COLOURS else name, []).append(name)
    return layers


def _draw(axis: Any, data: np.ndarray, edges: np.ndarray, name: str) -> None:
    colour = _COLOURS.get(name[-1:], _OTHER)
    counts, _ = np.histogram(data, edges)
    density = counts / max(1, len(data)) / np.diff(edges)
    mean = f"{data.mean():.3g}" if len(data) else "no data"
    axis.stairs(density, edges, color=colour, fill=True, alpha=0.25)
    axis.stairs(density, edges, color=colour, label=f"{name}: {mean}")
    if len(data):
        axis.axvline(data.mean(), color=colour, linewidth=1.0, linestyle="--")


def _finite(data: Any) -> np.ndarray:
    data = np.asarray(data, np.float64)
    return data[np.isfinite(data)]


def _edges(data: np.ndarray, *, signed: bool) -> np.ndarray:
    """Bins that hold nearly all, from 0 unless `signed`, each with as many possible values.

    Rates are whole numbers of spikes over the duration: bins of other widths would show a comb.
    """
    low, high = np.percentile(data, [0.2, 99.8]) if len(data) else (0.0, 1.0)
    low = low if signed else 0.0
    steps = np.diff(np.unique(data))
    step = float(steps.min()) if len(steps) else max(high - low, 1.0) / _BINS
    width = step * max(1, math.ceil((high - low) / _BINS / step))
    count = math.ceil((high - low) / width) + 1
    return low - step / 2 + width * np.arange(count + 1)
