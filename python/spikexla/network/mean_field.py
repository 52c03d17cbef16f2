"""The mean-field rate of integrate-and-fire neurons: Siegert's formula, and its fixed point."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def siegert_rate(
    mean: float, deviation: float, *, tau: float, t_ref: float, threshold: float, reset: float
) -> float:
    """The rate in Hz of a neuron whose input is white noise; mV and ms.

    mean, deviation: mu and sigma in `tau dV/dt = mu - V + sigma sqrt(tau) xi`; without a threshold
    V would have the variance `sigma^2 / 2`.

    Source: Siegert, Phys Rev 81:617 (1951); Brunel, J Comput Neurosci 8:183 (2000), equation 21.

    >>> round(siegert_rate(15.0, 1.5**0.5, tau=10.0, t_ref=2.0, threshold=15.0, reset=0.0), 4)
    27.1096
    """
    from scipy.integrate import fixed_quad
    from scipy.special import erfcx

    def density(u: np.ndarray) -> np.ndarray:
        """exp(u^2) (1 + erf(u)), without the overflow of the one and the rounding of the other."""
        up, down = np.maximum(u, 0), np.maximum(-u, 0)
        return np.where(u < 0, erfcx(down), 2 * np.exp(up**2) - erfcx(up))

    if deviation == 0:
        drive = (mean - reset) / (mean - threshold) if mean > threshold else math.inf
        return 1e3 / (t_ref + tau * math.log(drive))
    low, high = (reset - mean) / deviation, (threshold - mean) / deviation
    if high > 26:  # exp(u^2) leaves the range of doubles: less than a spike in 10^280 years
        return 0.0
    integral = float(fixed_quad(density, low, high, n=400)[0])
    return 1e3 / (t_ref + tau * math.sqrt(math.pi) * integral)


def self_consistent_rate(
    mean: Callable[[float], float], variance: Callable[[float], float], **neuron: float
) -> float:
    """The rate in Hz at which neurons fire whose input, of mean and variance, depends on it.

    Of several such rates one is found.

    >>> alone = {"tau": 10.0, "t_ref": 2.0, "threshold": 15.0, "reset": 0.0}
    >>> round(self_consistent_rate(lambda hz: 15.0, lambda hz: 1.5, **alone), 4)
    27.1096
    """
    from scipy.optimize import brentq

    def excess(hz: float) -> float:
        return siegert_rate(mean(hz), math.sqrt(variance(hz)), **neuron) - hz

    most = 1e3 / neuron["t_ref"]
    if excess(0.0) <= 0:
        return 0.0
    root: Any = brentq(excess, 0.0, most)  # scipy's hints allow a pair
    return float(root)
