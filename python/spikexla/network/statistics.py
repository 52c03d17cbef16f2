"""Statistics of recorded spikes: rates, irregularity and correlation, computed by elephant.

Spikes of a batch are refused: a train is of one neuron in one trial, `spikes.of_trial(0)`.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from ..connect.base import count
from ..units import mantissa
from .result import Spikes, refuse_trials

SAMPLE_CV, SAMPLE_PAIRS = 1000, 200  # neurons of a population that stand for all of it
LEAST_SPIKES = 3  # two intervals: fewer have no variation
BIN_MS = 2.0  # of a correlation: the refractory time of the microcircuit


def firing_rates(spikes: Spikes, duration_ms: Any) -> np.ndarray:
    """The mean rate of each neuron over `duration_ms` (or a quantity), in Hz: (n,).

    ValueError for a time that is not positive and finite, or that ends before the spikes do.

    >>> import numpy as np
    >>> from spikexla.network import Spikes
    >>> train = Spikes(np.array([0, 9]), np.array([1, 1]), n=2, dt_ms=1.0)
    >>> firing_rates(train, 1000.0)
    array([0., 2.])
    """
    refuse_trials("firing_rates", spikes)
    ms = _ms("firing_rates: duration_ms", duration_ms)
    last = int(spikes.steps.max(initial=-1))
    if last * spikes.dt_ms >= ms * (1 - 1e-12):
        raise ValueError(
            f"firing_rates: there are spikes until {(last + 1) * spikes.dt_ms:g} ms, after "
            f"duration_ms={duration_ms!r}. Give the time in which they were recorded."
        )
    return np.bincount(spikes.ids, minlength=spikes.n) / ms * 1e3


def cv_isi(
    spikes: Spikes, *, neurons: int = SAMPLE_CV, least: int = LEAST_SPIKES, seed: int = 0
) -> np.ndarray:
    """The coefficient of variation of the intervals between the spikes of a neuron.

    Of at most `neurons` neurons, drawn from those with `least` spikes or more: (neurons,), empty if
    there are none. A clock has 0, a Poisson process 1. ImportError without elephant; ValueError for
    `least` below 3, as two spikes have one interval, which does not vary.

    >>> cv_isi(result.spikes["L4E"]).mean()                              # doctest: +SKIP
    0.87
    """
    refuse_trials("cv_isi", spikes)
    if least < LEAST_SPIKES:
        raise ValueError(f"cv_isi: least={least} must be {LEAST_SPIKES} or more spikes.")
    statistics = _elephant("statistics")
    trains = _trains(spikes, neurons, least, seed)
    return np.array([statistics.cv(statistics.isi(train)) for train in trains], np.float64)


def correlations(
    spikes: Spikes,
    duration_ms: Any,
    *,
    bin_ms: Any = BIN_MS,
    neurons: int = SAMPLE_PAIRS,
    seed: int = 0,
) -> np.ndarray:
    """Pearson's correlation of the spike counts of two neurons in bins of `bin_ms`.

    Of all pairs of at most `neurons` neurons, drawn from those that fired: (pairs,), empty with
    fewer than two. A rest that fills no bin is left out. Times are ms or quantities. ImportError
    without elephant; ValueError for less than two bins.

    >>> correlations(result.spikes["L4E"], result.duration_ms).mean()    # doctest: +SKIP
    0.003
    """
    refuse_trials("correlations", spikes)
    ms, width = (
        _ms(f"correlations: {name}", x)
        for name, x in (("duration_ms", duration_ms), ("bin_ms", bin_ms))
    )
    bins = int(ms / width * (1 + 1e-12))
    if bins < 2:
        raise ValueError(
            f"correlations: duration_ms={duration_ms} must hold two bins of bin_ms={bin_ms} or more"
        )
    conversion, correlation = _elephant("conversion"), _elephant("spike_train_correlation")
    import neo
    import quantities as pq

    end = bins * width
    kept = spikes.steps * spikes.dt_ms < end
    whole = Spikes(spikes.steps[kept], spikes.ids[kept], spikes.n, spikes.dt_ms)
    drawn = _trains(whole, neurons, 1, seed)
    if len(drawn) < 2:
        return np.zeros(0)
    trains = [neo.SpikeTrain(train, units="ms", t_stop=end) for train in drawn]
    with warnings.catch_warnings():  # elephant 1.2 uses what quantities and numpy advise against
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = correlation.correlation_coefficient(
            conversion.BinnedSpikeTrain(trains, bin_size=width * pq.ms, n_bins=bins)
        )
    return matrix[np.triu_indices(len(trains), 1)]


def _ms(what: str, time: Any) -> float:
    ms = np.asarray(mantissa(time, "ms", what=what))
    if ms.shape or ms.dtype.kind not in "iuf" or not 0 < ms < np.inf:
        raise ValueError(f"{what}={time!r} must be one positive, finite time: ms, or a quantity.")
    return float(ms)


def _trains(spikes: Spikes, most: int, least: int, seed: int) -> list[np.ndarray]:
    """The beginnings of the steps (ms) in which each drawn neuron fired, `least` times or more."""
    most = count("neurons", most)
    ids = np.flatnonzero(np.bincount(spikes.ids, minlength=spikes.n) >= least)
    if len(ids) > most:
        ids = np.sort(np.random.default_rng(seed).choice(ids, most, replace=False))
    order = np.argsort(spikes.ids, kind="stable")  # of each neuron in the order of time
    begins, ends = (np.searchsorted(spikes.ids[order], ids, side) for side in ("left", "right"))
    times = spikes.steps[order] * spikes.dt_ms
    return [times[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _elephant(module: str) -> Any:
    try:
        return importlib.import_module(f"elephant.{module}")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "elephant":
            raise
        raise ImportError(
            "this statistic needs elephant: `pip install elephant`, or spikexla[analysis]"
        ) from error
