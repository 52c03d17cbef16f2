"""The raster of a network's spikes, with the rate of each population below it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

MOST_NEURONS = 1000
MOST_DOTS = 200_000

_COLOURS = (
    *("#1f5fa8", "#c8442d", "#2f8f5b", "#8a5aa8", "#b5851b"),
    *("#4f4f4f", "#3aa6b9", "#d0679d"),
)
_BESIDE = 4  # names in one row of the legend; more populations are also smoothed more


def save_raster(
    path: str | os.PathLike,
    populations: Mapping[str, tuple[Any, Any, int]],
    *,
    duration_ms: float,
    title: str = "",
    bin_ms: float | None = None,
    most_neurons: int = MOST_NEURONS,
) -> None:
    """Draws `{name: (times in ms, ids, number of neurons)}` into an image file.

    Times and ids have shape `(spikes,)`; ids count from 0 in each population. At most
    `most_neurons` are drawn, evenly spaced and shared among the populations by their size; rates
    are those of all neurons, in bins of `bin_ms` (by default 1 ms, or a 400th of the duration, a
    100th for more than 4 populations).

    >>> save_raster("raster.png", {"E": ([1.0], [0], 10)}, duration_ms=5.0)   # doctest: +SKIP
    """
    # A Figure of its own canvas: no window system, and the user's pyplot settings stay as they are.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    raster, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    scale, unit = (1e-3, "s") if duration_ms >= 2000 else (1.0, "ms")
    shown = _draw_raster(raster, populations, most_neurons, scale)
    _draw_rates(rate, populations, duration_ms, bin_ms, scale)
    total = sum(n for _, _, n in populations.values())
    raster.set_ylabel("neuron" if shown == total else f"neuron ({shown:,} of {total:,} shown)")
    rate.set_ylabel("rate (Hz)")
    rate.set_xlabel(f"time ({unit})")
    rate.set_xlim(0, duration_ms * scale)
    raster.set_title(title, loc="left", fontsize=11)
    for axis in (raster, rate):
        axis.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    figure.savefig(path, dpi=150, format="png")


def _draw_raster(axis: Any, populations: Mapping, most: int, scale: float) -> int:
    """Dots from the bottom up, the first population on top; returns how many neurons are drawn."""
    sizes = {name: n for name, (_, _, n) in populations.items()}
    total = max(sum(sizes.values()), 1)
    row, ticks = 0, {}
    colours = _colours(populations)
    dots = sum(len(times) for times, _, _ in populations.values()) * min(1.0, most / total)
    size = float(np.clip(600 / np.sqrt(dots + 1), 1.5, 12.0))
    for name in reversed(list(populations)):
        times, ids, n = populations[name]
        rows = min(n, max(1, round(min(1.0, most / total) * n)))
        # Neuron k is drawn on row k rows / n if it is the first that falls on this row.
        place = np.asarray(ids, np.int64) * rows // max(n, 1)
        drawn = -(-place * n // max(rows, 1)) == ids
        x, y = np.asarray(times)[drawn] * scale, row + place[drawn]
        if len(x) > MOST_DOTS:
            keep = np.linspace(0, len(x) - 1, MOST_DOTS).astype(int)
            x, y = x[keep], y[keep]
        axis.scatter(x, y, s=size, c=colours[name], marker=".", linewidths=0, rasterized=True)
        ticks[row + rows / 2] = name
        row += rows
        axis.axhline(row - 0.5, color="0.8", linewidth=0.6, zorder=0)
    axis.set_ylim(-0.5, row - 0.5)
    names = axis.secondary_yaxis("right")
    names.set_yticks(list(ticks), list(ticks.values()))
    names.tick_params(length=0)
    names.spines["right"].set_visible(False)
    for label in names.get_yticklabels():
        label.set_color(colours[label.get_text()])
        label.set_fontweight("bold")
    return row


def _draw_rates(
    axis: Any, populations: Mapping, duration_ms: float, bin_ms: float | None, scale: float
) -> None:
    width = bin_ms or max(1.0, duration_ms / (400 if len(populations) <= _BESIDE else 100))
    bins = max(1, round(duration_ms / width))
    edges = np.linspace(0, duration_ms * (1 + 1e-9), bins + 1)
    colours, drawn = _colours(populations), []
    for name, (times, _, n) in populations.items():
        counts, _ = np.histogram(np.asarray(times), edges)
        rates = counts / max(n, 1) / (np.diff(edges) / 1e3)
        mean = len(times) / max(n, 1) / (duration_ms / 1e3)
        label = f"{name}: mean {mean:.1f} Hz"
        drawn.append(rates)
        axis.stairs(rates, edges * scale, baseline=None, color=colours[name], label=label)
    _fit_rates(axis, np.concatenate(drawn) if drawn else np.zeros(1))
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "borderaxespad": 0.0}
    axis.legend(**place, fontsize=8, frameon=False, ncols=min(_BESIDE, len(populations)))


def _fit_rates(axis: Any, rates: np.ndarray) -> None:
    """Limits the axis to what is usual; a short burst at the start is cut, and said in words."""
    usual, peak = 1.5 * float(np.percentile(rates, 98)), float(rates.max())
    if usual <= 0 or peak <= 2 * usual:
        axis.set_ylim(bottom=0)
        return
    axis.set_ylim(0, usual)
    note = f"cut at {usual:.0f} Hz; highest bin {peak:.0f} Hz"
    axis.set_title(note, loc="left", fontsize=8, color="0.35", pad=3)


def _colours(populations: Mapping) -> dict[str, str]:
    return {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(populations)}
