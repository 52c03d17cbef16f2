"""Measured statistics beside reference values, and the rule that says whether they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import statistics
from .microcircuit import NAMES
from .result import Spikes

RELATIVE, SEMS = 0.05, 2.0  # of the acceptance rule
WHOLE = "all"
# Intervals that are longer than the recording are never seen, so that the CVs of slow neurons come
# out too low: by 20 % in 10 s, and by less than 5 % from a minute on, of neurons with ten spikes.
CV_SPIKES, CV_MS = 10, 60e3


class Reference(NamedTuple):
    """The mean of a population, and the standard error that it is known with."""

    mean: float
    error: float = 0.0


def _row(means: Sequence[float], errors: Sequence[float] = (0.0,) * 8) -> dict[str, Reference]:
    return dict(zip(NAMES, map(Reference, means, errors), strict=True))


# The cortical microcircuit at full size, by its drive. Rates of the whole: the spike counters of
# NEST over 10 seeds (Golosio et al., Appl Sci 13:9598, 2023). Rates with Poisson drive:
# `full_mean_rates` of INM-6/microcircuit-PD14-model, one run of NEST.
# CV and CC: means of the distributions of the reference data there (constant drive, 10 seeds of 15
# min, CC in bins of 2 ms), read from its figures. The errors are those of reading: a CC is known to
# a part of the figure's classes of 0.0013, and that of L5E runs out of it.
MICROCIRCUIT: dict[str, dict[str, dict[str, Reference]]] = {
    "poisson": {
        "rate": {
            **_row((0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829)),
            WHOLE: Reference(3.236),
        },
    },
    "dc": {
        "rate": {WHOLE: Reference(3.185)},
        "cv": _row(
            (0.971, 0.924, 0.892, 0.871, 0.817, 0.785, 0.956, 0.790),
            (0.010, 0.010, 0.010, 0.010, 0.010, 0.015, 0.010, 0.015),
        ),
        "cc": _row(
            (0.0046, 0.0046, 0.0051, 0.0029, 0.0115, 0.0026, 0.0005, 0.0015),
            (0.0003, 0.0003, 0.0003, 0.0003, 0.0010, 0.0003, 0.0003, 0.0003),
        ),
    },
}
TITLES = {"rate": "mean rate (Hz)", "cv": "CV of intervals", "cc": "correlation in 2 ms"}


@dataclass(frozen=True)
class Verdict:
    """A measured mean over seeds beside its reference.

    It agrees if the two differ by at most 5 % or two standard errors, whichever is more; the
    standard error is that of both.
    """

    quantity: str
    population: str
    mean: float
    sem: float
    reference: Reference

    @property
    def tolerance(self) -> float:
        """The largest difference of the means that is accepted."""
        sem = float(np.hypot(self.sem, self.reference.error))
        return max(RELATIVE * abs(self.reference.mean), SEMS * sem)

    @property
    def agrees(self) -> bool:
        """Whether the rule holds; a mean that is not a number never agrees."""
        return bool(abs(self.mean - self.reference.mean) <= self.tolerance)


def measured(spikes: Mapping[str, Spikes], duration_ms: float) -> dict[str, dict[str, float]]:
    """The mean rate, CV and correlation of each population of one run: {quantity: {name: mean}}.

    Rates are also those of the whole, as 'all'. NaN where too few neurons fired.
    """
    found: dict[str, dict[str, float]] = {quantity: {} for quantity in TITLES}
    for name, train in spikes.items():
        found["rate"][name] = float(statistics.firing_rates(train, duration_ms).mean())
        found["cv"][name] = _mean(statistics.cv_isi(train, least=CV_SPIKES))
        found["cc"][name] = _mean(statistics.correlations(train, duration_ms))
    fired, neurons = (sum(of(t) for t in spikes.values()) for of in (len, lambda t: t.n))
    found["rate"][WHOLE] = fired / neurons / duration_ms * 1e3
    return found


def references(drive: str, scale: float, duration_ms: float) -> dict[str, dict[str, Reference]]:
    """What a microcircuit of this drive and scale can be held against after so long a recording.

    A smaller one has the same rates, nearly, and higher correlations.
    """
    known = MICROCIRCUIT[drive]
    short = {"cv"} if duration_ms < CV_MS else set()
    left_out = {"cv", "cc"} if scale < 1 else short
    return {quantity: row for quantity, row in known.items() if quantity not in left_out}


def judged(
    runs: Sequence[Mapping[str, Mapping[str, float]]],
    held_to: Mapping[str, Mapping[str, Reference]],
) -> list[Verdict]:
    """A verdict for each reference, over the `measured` runs of two seeds or more.

    Errors: ValueError for fewer runs, whose spread is not known.

    >>> rates = [{"rate": {"L4E": 4.3}}, {"rate": {"L4E": 4.5}}]
    >>> judged(rates, {"rate": {"L4E": Reference(4.41)}})[0].agrees
    True
    """
    if len(runs) < 2:
        raise ValueError(f"judged: {len(runs)} runs have no standard error; make 2 or more.")
    verdicts = []
    for quantity, row in held_to.items():
        for name, reference in row.items():
            mean, sem = mean_and_sem([run[quantity][name] for run in runs])
            verdicts.append(Verdict(quantity, name, mean, sem, reference))
    return verdicts


def mean_and_sem(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two values or more, and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
