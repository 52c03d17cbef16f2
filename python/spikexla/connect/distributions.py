"""Laws of weights and delays, drawn one a synapse."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any

# (law, centre, spread, from, span, low, high), as csrc/cpu/sparse_table.h explains them.
Law = tuple[str, float, float, float, float, float, float]
FARTHEST = 6.7  # deviations: the quantile function stops there
LEAST_INSIDE = 0.02


class Distribution(abc.ABC):
    """A law of numbers, or of quantities if its parameters are."""

    @property
    @abc.abstractmethod
    def example(self) -> Any:
        """A parameter that has the unit of the values."""

    @abc.abstractmethod
    def law(self, number: Callable[[Any], float]) -> Law:
        """The law in the numbers that `number` makes of its parameters."""


@dataclasses.dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform in [low, high].

    >>> Uniform(0.5, 1.5)
    Uniform(low=0.5, high=1.5)
    """

    low: Any
    high: Any

    @property
    def example(self) -> Any:
        return self.low

    def law(self, number: Callable[[Any], float]) -> Law:
        low, high = _number(self, number, "low"), _number(self, number, "high")
        if low > high:
            raise ValueError(f"{self}: low is above high. Exchange them.")
        return "uniform", low, high - low, 0.0, 1.0, low, high


@dataclasses.dataclass(frozen=True)
class Normal(Distribution):
    """Normal with mean `mean` and deviation `sd`, redrawn until it lies in [low, high].

    A bound that is None does not bound. `mean` and `sd` are those before redrawing, as in NEST.
    Errors: ValueError if fewer than one draw in 50 would lie inside.

    >>> Normal(1.5, 0.75, low=0.1)
    Normal(mean=1.5, sd=0.75, low=0.1, high=None)
    """

    mean: Any
    sd: Any
    low: Any = None
    high: Any = None

    @property
    def example(self) -> Any:
        return self.mean

    def law(self, number: Callable[[Any], float]) -> Law:
        mean, sd = _number(self, number, "mean"), _deviation(self, number)
        low, high = _bounds(self, number)
        first, span, low, high = _inside(self, mean, sd, low, high)
        return "normal", mean, sd, first, span, low, high


@dataclasses.dataclass(frozen=True)
class LogNormal(Distribution):
    """Log-normal with mean `mean` and deviation `sd` of the values, redrawn as `Normal` is.

    >>> LogNormal(1.0, 0.5, high=10.0)
    LogNormal(mean=1.0, sd=0.5, low=None, high=10.0)
    """

    mean: Any
    sd: Any
    low: Any = None
    high: Any = None

    @property
    def example(self) -> Any:
        return self.mean

    def law(self, number: Callable[[Any], float]) -> Law:
        mean, sd = _number(self, number, "mean"), _deviation(self, number)
        if mean <= 0:
            raise ValueError(f"{self}: the mean of a log-normal law is positive.")
        variance = math.log1p((sd / mean) ** 2)
        centre, spread = math.log(mean) - variance / 2, math.sqrt(variance)
        low, high = (
            -math.inf if x == -math.inf or x <= 0 else math.log(x) for x in _bounds(self, number)
        )
        first, span, low, high = _inside(self, centre, spread, low, high)
        return "lognormal", centre, spread, first, span, math.exp(low), math.exp(high)


def _number(law: Any, number: Callable[[Any], float], name: str) -> float:
    value = getattr(law, name)
    try:
        value = number(value)
    except TypeError as error:
        raise TypeError(f"{law}: {name}: {error}") from None
    if not math.isfinite(value):
        raise ValueError(f"{law}: {name} is {value}, but must be a finite number.")
    return value


def _deviation(law: Any, number: Callable[[Any], float]) -> float:
    sd = _number(law, number, "sd")
    if sd < 0:
        raise ValueError(f"{law}: sd is negative.")
    return sd


def _bounds(law: Any, number: Callable[[Any], float]) -> tuple[float, float]:
    low = -math.inf if law.low is None else _number(law, number, "low")
    high = math.inf if law.high is None else _number(law, number, "high")
    if low > high:
        raise ValueError(f"{law}: low is above high. Exchange them.")
    return low, high


def _inside(law: Any, mean: float, sd: float, low: float, high: float):
    """Probability below `low` and between, and the least and largest value that can come."""
    if sd == 0.0:
        first, last = float(mean < low), float(mean <= high)
    else:
        first, last = (0.5 * math.erfc((mean - x) / sd / math.sqrt(2.0)) for x in (low, high))
    if last - first < LEAST_INSIDE:
        raise ValueError(
            f"{law}: a draw lies inside its bounds with probability {max(last - first, 0.0):.2g}, "
            f"but redrawing needs at least {LEAST_INSIDE}. Widen low and high, or move the mean."
        )
    return first, last - first, max(low, mean - FARTHEST * sd), min(high, mean + FARTHEST * sd)
