"""Laws of weights and delays: seeded, one draw a synapse."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import environ
from ..ops import library
from ..units import is_quantity
from .base import check_seed, empty, take_over

# centre, spread, from, span, low, high, as csrc/cpu/sparse_table.h explains them; and a law's name.
Parameters = tuple[float, float, float, float, float, float]
Law = tuple[str, float, float, float, float, float, float]
FARTHEST = 6.7  # deviations: the quantile function stops there
RAREST = 1e-3  # drawing until it is inside takes 1000 draws


@dataclasses.dataclass(frozen=True)
class Distribution(abc.ABC):
    """Independent draws: a law for `EventDrawn`, or with a seed an initialiser.

    `distribution(shape)` is an array in the precision of the environment, drawn as float32. The
    draws depend on `seed` and the shape's number of elements, not on the number of threads;
    different populations of synapses need different seeds, and `EventDrawn` brings its own.
    Parameters are numbers, or all quantities of one dimension; then the result is a quantity in the
    unit of the first.
    """

    @abc.abstractmethod
    def law_of(self, numbers: dict[str, Any]) -> Law:
        """The law whose plain parameters are `numbers`; ValueError for what is no law."""

    def __post_init__(self) -> None:
        if self._seed is not None:
            check_seed(self._seed)
        self.law_of(self._numbers()[0])

    def __call__(self, shape: int | Sequence[int]) -> Any:
        if self._seed is None:
            raise ValueError(
                f"{self!r} has no seed to draw with. Give seed=, or pass it to EventDrawn."
            )
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        size = math.prod(sizes)
        out = empty((size,), np.float32, f"{size} values of {type(self).__name__}")
        numbers, unit = self._numbers()
        library.native().draw_law(self._seed, self.law_of(numbers), out)
        made = take_over(out.reshape(sizes)).astype(environ.dftype())
        return made if unit is None else made * unit

    def law(self, number: Callable[[Any], float]) -> Law:
        """The law in the numbers that `number` makes of the parameters."""
        return self.law_of({k: None if x is None else number(x) for k, x in self._values()})

    @property
    def unit(self) -> Any:
        """The unit of the values, or None for numbers."""
        return self._numbers()[1]

    @property
    def _seed(self) -> int | None:
        return getattr(self, "seed")  # noqa: B009  a field of every law

    def _values(self) -> list[tuple[str, Any]]:
        fields = dataclasses.fields(self)
        return [(f.name, getattr(self, f.name)) for f in fields if f.name != "seed"]

    def _numbers(self) -> tuple[dict[str, Any], Any]:
        """The parameters as floats, and the unit that they share."""
        values = dict(self._values())
        given = {name: x for name, x in values.items() if x is not None}
        lead = next(iter(given.values()))
        unit, numbers = (lead.unit if is_quantity(lead) else None), dict.fromkeys(values)
        for name, x in given.items():
            if is_quantity(x) != (unit is not None) or (
                unit is not None and x.unit.dim != unit.dim
            ):
                raise TypeError(
                    f"{self!r}: {name} and {next(iter(given))} differ in dimension. Give all of "
                    "them as numbers, or all as quantities of one dimension."
                )
            try:
                number = float(x if unit is None else x.to_decimal(unit))
            except (TypeError, ValueError):
                raise TypeError(f"{self!r}: {name}={x!r} must be one number.") from None
            if math.isnan(number):
                raise ValueError(f"{self!r}: {name} is NaN; give a number.")
            numbers[name] = number
        return numbers, unit

    def _require(self, sound: bool, rule: str) -> None:
        if not sound:
            raise ValueError(f"{self!r}: {rule}.")


@dataclasses.dataclass(frozen=True)
class Normal(Distribution):
    """Normal with mean `mean` and deviation `sd`, drawn again until inside [low, high].

    Errors: TypeError for parameters of different dimensions; ValueError for a negative sd, and for
    limits that hold less than a thousandth of the draws.

    >>> x = Normal(87.8, 8.78, low=80.0, seed=1)(1000)
    >>> x.shape, bool(x.min() >= 80.0)
    ((1000,), True)
    """

    mean: Any
    sd: Any
    low: Any = None
    high: Any = None
    seed: int | None = dataclasses.field(default=None, kw_only=True)

    def law_of(self, numbers: dict[str, Any]) -> Law:
        return "normal", *self._inside(numbers["mean"], numbers["sd"], *self._limits(numbers))

    def _limits(self, numbers: dict[str, Any]) -> tuple[float, float]:
        self._require(0 <= numbers["sd"] < math.inf, "sd must be 0 or more and finite")
        self._require(math.isfinite(numbers["mean"]), "mean must be finite")
        low, high = numbers["low"], numbers["high"]
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        self._require(low <= high, "low must not exceed high")
        return low, high

    def _inside(self, mean: float, sd: float, low: float, high: float) -> Parameters:
        """The parameters of the quantiles of all probabilities between those of the limits.

        Drawing again until inside has the same law.
        """
        if sd == 0:
            first, last = float(mean < low), float(mean <= high)
        else:
            first, last = (0.5 * math.erfc((mean - x) / sd / math.sqrt(2)) for x in (low, high))
        inside = max(last - first, 0.0)
        self._require(
            inside >= RAREST,
            f"only {inside:.2g} of the draws lie inside the limits, and those outside are drawn "
            f"again; let {RAREST} or more be inside",
        )
        reach = FARTHEST * sd
        return mean, sd, first, inside, max(low, mean - reach), min(high, mean + reach)


@dataclasses.dataclass(frozen=True)
class LogNormal(Normal):
    """Log-normal, drawn again until inside [low, high].

    `mean` and `sd` are those of the values, not of their logarithms. Errors: those of `Normal`,
    and ValueError for a mean that is not positive.

    >>> x = LogNormal(1.0, 0.5, high=5.0, seed=1)(1000)
    >>> bool(x.min() > 0), bool(x.max() <= 5)
    (True, True)
    """

    def law_of(self, numbers: dict[str, Any]) -> Law:
        self._require(numbers["mean"] > 0, "the mean of a log-normal law must be positive")
        low, high = (math.log(x) if x > 0 else -math.inf for x in self._limits(numbers))
        variance = math.log1p((numbers["sd"] / numbers["mean"]) ** 2)
        centre, spread = math.log(numbers["mean"]) - variance / 2, math.sqrt(variance)
        _, _, first, inside, low, high = self._inside(centre, spread, low, high)
        return "lognormal", centre, spread, first, inside, math.exp(low), math.exp(high)


@dataclasses.dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform in [low, high].

    Errors: TypeError for limits of different dimensions, ValueError where low exceeds high.

    >>> x = Uniform(0.5, 2.5, seed=1)(1000)
    >>> bool(x.min() >= 0.5), bool(x.max() <= 2.5)
    (True, True)
    """

    low: Any
    high: Any
    seed: int | None = dataclasses.field(default=None, kw_only=True)

    def law_of(self, numbers: dict[str, Any]) -> Law:
        low, high = numbers["low"], numbers["high"]
        self._require(
            -math.inf < low <= high < math.inf,
            "low and high must be finite, and low must not exceed high",
        )
        return "uniform", low, high - low, 0.0, 1.0, low, high
