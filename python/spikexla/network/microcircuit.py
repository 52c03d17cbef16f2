"""Microcircuit: 1 mm^2 of early sensory cortex, of Potjans and Diesmann (2014)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..comm import EventDrawn
from ..connect import FixedTotal, Normal
from ..connect.base import check_seed
from ..module import Module
from ..neuron import IafPscExp
from ..projection import AlignPostProj, PoissonInput

# Potjans & Diesmann, "The cell-type specific cortical microcircuit", Cereb Cortex 24:785 (2014).
NAMES = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
SIZES = (20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948)
# Probability that a neuron of the row's population has a synapse from one of the column's.
PROBABILITIES = (
    (0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0),
    (0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0),
    (0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0.0),
    (0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0),
    (0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0),
    (0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0.0),
    (0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252),
    (0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443),
)
EXTERNAL = (1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100)  # sources of each neuron
EXTERNAL_RATE = 8.0  # Hz
RATES = (0.86, 2.80, 4.45, 5.93, 7.59, 8.64, 1.09, 7.88)  # Hz, as published (figure 6)
TAU_SYN, TAU_M, C_M = 0.5, 10.0, 250.0  # ms, ms, pF
PSP, RELATIVE_WEIGHT, RELATIVE_SD = 0.15, -4.0, 0.1  # mV, inhibitory over excitatory, sd over mean
DELAYS, RELATIVE_DELAY_SD = (1.5, 0.8), 0.5  # ms: excitatory, inhibitory
# Means and deviations of V at the start, near those of the running network (mV): Rhodes et al.,
# "Real-time cortical simulation on neuromorphic hardware", Phil Trans R Soc A 378:20190160 (2019).
START = (
    (-68.28, 5.36),
    (-63.16, 4.57),
    (-63.33, 4.74),
    (-63.45, 4.94),
    (-63.11, 4.94),
    (-61.66, 4.55),
    (-66.72, 5.46),
    (-61.43, 4.48),
)


def current_of_psp() -> float:
    """The jump of the synaptic current, in pA, whose potential has the amplitude PSP."""
    ratio = TAU_SYN / TAU_M
    peak = ratio ** (ratio / (1 - ratio)) - ratio ** (1 / (1 - ratio))
    return PSP * C_M * (TAU_M - TAU_SYN) / (TAU_M * TAU_SYN) / peak


def synapse_numbers() -> np.ndarray:
    """How many synapses go from each population (column) to each (row): int64 (8, 8).

    Pairs are drawn with replacement until a pair is connected with the probability of the table.
    """
    pairs = np.outer(SIZES, SIZES).astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.round(np.log1p(-np.array(PROBABILITIES)) / np.log1p(-1 / pairs)).astype(np.int64)


class Microcircuit(Module):
    """77169 neurons and 0.3 billion synapses in four layers, at their natural density.

    scale: a smaller circuit has `scale` of the neurons and of each neuron's inputs; weights grow by
    `1 / sqrt(scale)` and a constant current makes up for the mean input, so that rates stay near
    those of the whole (van Albada et al. 2015). drive: 'poisson', or 'dc' for the same mean input
    without its noise. seed: of connections, weights, delays, start and noise. stored=False: see
    `EventDrawn`. `update` makes one
    step of dt, which is 0.1 ms in the literature.

    Errors: ValueError for a scale outside of (0, 1] or too small for a neuron in each population,
    and for another drive. Synapses are drawn when they are first used; that raises MemoryError,
    before memory is taken, if they do not fit.

    Source: Potjans & Diesmann, Cereb Cortex 24:785 (2014), tables 4 and 5.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> net = sx.network.Microcircuit(scale=0.01)
    >>> result = sx.simulate(net, 5.0)
    >>> result.path
    'network_run'
    """

    def __init__(
        self, scale: float = 1.0, *, drive: str = "poisson", seed: int = 0, stored: bool = True
    ) -> None:
        super().__init__()
        if not 0 < scale <= 1 or round(min(SIZES) * scale) < 1:
            raise ValueError(
                f"Microcircuit: scale={scale} must be above {0.5 / min(SIZES):.1g}, for one neuron "
                "in the smallest population, and at most 1."
            )
        if drive not in ("poisson", "dc"):
            raise ValueError(f"Microcircuit: drive={drive!r} must be 'poisson' or 'dc'.")
        self.scale, self.drive, self.seed = scale, drive, check_seed(seed)
        seeds = np.random.SeedSequence(self.seed).generate_state(80, np.uint32).tolist()
        weights = current_of_psp() * np.array([1.0, RELATIVE_WEIGHT] * 4) * np.ones((8, 8))
        weights[0, 2] *= 2  # layer 4 to layer 2/3, which leads the activity upwards
        constant = _constant_current(weights, scale, drive)
        self.populations = [
            IafPscExp(
                round(n * scale),
                C_m=C_M,
                tau_m=TAU_M,
                E_L=-65.0,
                V_th=-50.0,
                V_reset=-65.0,
                t_ref=2.0,
                I_e=current,
                V_initializer=Normal(*start, seed=key),
                name=name,
            )
            for n, current, start, key, name in zip(
                SIZES, constant.tolist(), START, seeds[72:], NAMES, strict=True
            )
        ]
        numbers = np.round(synapse_numbers() * scale**2).astype(int)
        self.projections = [
            self._projection(pre, post, int(numbers[post, pre]), weights[post, pre], seeds, stored)
            for pre in range(8)
            for post in range(8)
            if numbers[post, pre]
        ]
        self.sources = [pre for pre in range(8) for post in range(8) if numbers[post, pre]]
        self.noise = [
            PoissonInput(
                rate=EXTERNAL_RATE,
                num=sources * scale,
                weight=current_of_psp() / math.sqrt(scale),
                seed=key,
                **population.receptor(TAU_SYN),
            )
            for sources, key, population in zip(
                EXTERNAL if drive == "poisson" else (), seeds[64:], self.populations, strict=False
            )
        ]

    def _projection(
        self, pre: int, post: int, number: int, weight: float, seeds: list[int], stored: bool
    ) -> AlignPostProj:
        mean, delay = weight / math.sqrt(self.scale), DELAYS[pre % 2]
        bounds: dict[str, Any] = {"low": 0.0} if mean > 0 else {"high": 0.0}
        sd = delay * RELATIVE_DELAY_SD
        comm = EventDrawn(
            self.populations[pre].size,
            self.populations[post].size,
            FixedTotal(number),
            Normal(mean, abs(mean) * RELATIVE_SD, **bounds),
            delay=Normal(delay, sd, low=0.05, high=delay + 6 * sd),
            seed=seeds[8 * pre + post],
            stored=stored,
        )
        return AlignPostProj(comm=comm, **self.populations[post].receptor(TAU_SYN))

    def update(self) -> None:
        """One step of all populations."""
        spikes = [population.get_spike() != 0 for population in self.populations]
        for source, projection in zip(self.sources, self.projections, strict=True):
            projection(spikes[source])
        for noise in self.noise:
            noise()
        for population in self.populations:
            population()


def _constant_current(weights: np.ndarray, scale: float, drive: str) -> np.ndarray:
    """pA of each population: what scaling takes from the mean input, and the drive if constant."""
    inputs = weights * synapse_numbers() / np.array(SIZES)[:, None]
    recurrent = (inputs * np.array(RATES)).sum(1)
    external = current_of_psp() * np.array(EXTERNAL) * EXTERNAL_RATE
    missing = (1 - math.sqrt(scale)) * (recurrent + external)
    if drive == "dc":
        missing = missing + math.sqrt(scale) * external
    return 1e-3 * TAU_SYN * missing
