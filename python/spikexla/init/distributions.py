"""Initialisers that draw each element from a law."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .. import random
from ..units import is_quantity
from .initializers import Initializer


@dataclasses.dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean `mean` and standard deviation `std`."""

    mean: Any = 0.0
    std: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return random.normal(self.mean, self.std, shape, key=key, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform in [low, high)."""

    low: Any = 0.0
    high: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return random.uniform(self.low, self.high, shape, key=key, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal with mean `mean` and deviation `std`, within [low, high]: two deviations by default.

    The bounds are values, not numbers of deviations.
    """

    mean: Any = 0.0
    std: Any = 1.0
    low: Any = None
    high: Any = None

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        low = self.mean - 2 * self.std if self.low is None else self.low
        high = self.mean + 2 * self.std if self.high is None else self.high
        return random.truncated_normal(low, high, shape, self.mean, self.std, key, dtype)


@dataclasses.dataclass(frozen=True)
class LogNormal(Initializer):
    """Log-normal with mean `mean` and standard deviation `std` of the values themselves."""

    mean: Any = 1.0
    std: Any = 0.5

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        ratio = self.std / self.mean
        ratio = ratio.to_decimal() if is_quantity(ratio) else ratio
        # Values of mean 1 and deviation `ratio` have logarithms of this variance.
        variance = math.log1p(float(ratio) ** 2)
        unit_mean = random.lognormal(-variance / 2, math.sqrt(variance), shape, key, dtype)
        return unit_mean * self.mean


@dataclasses.dataclass(frozen=True)
class Exponential(Initializer):
    """Exponential with mean `scale`."""

    scale: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return random.exponential(self.scale, shape, key=key, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Gamma(Initializer):
    """Gamma of shape parameter `shape`, with mean `shape * scale`."""

    shape: float
    scale: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return random.gamma(self.shape, self.scale, shape, key=key, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Beta(Initializer):
    """Beta of parameters `alpha` and `beta`, stretched to [low, high]."""

    alpha: float
    beta: float
    low: Any = 0.0
    high: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        part = random.beta(self.alpha, self.beta, shape, key=key, dtype=dtype)
        return self.low + (self.high - self.low) * part


@dataclasses.dataclass(frozen=True)
class Weibull(Initializer):
    """Weibull of shape parameter `shape` and the given scale."""

    shape: float
    scale: Any = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return random.weibull_min(self.shape, self.scale, shape, key=key, dtype=dtype)
