"""Distributions of weights and delays, seeded: each is called with the shape of the synapses."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from .. import environ
from ..ops import library
from ..units import is_quantity
from .base import check_seed, empty, take_over

BLOCK = 1 << 16  # elements of one stream of random numbers; part of what the seed means
RAREST = 1e-3  # drawing until it is inside takes 1000 draws


@dataclasses.dataclass(frozen=True)
class Distribution(abc.ABC):
    """Independent draws: `distribution(shape)` is an array in the precision of the environment.

    The draws depend on `seed` and the shape's number of elements, not on the number of threads;
    different populations of synapses need different seeds. They come from numpy's Philox
    `Generator`, so another version of numpy may draw other numbers. Parameters are numbers, or all
    quantities of one dimension; then the result is a quantity in the unit of the first.
    """

    @abc.abstractmethod
    def block(self, rng: np.random.Generator, out: np.ndarray, numbers: dict[str, Any]) -> None:
        """Fills `out` with draws of the law whose plain parameters are `numbers`."""

    @abc.abstractmethod
    def check(self, numbers: dict[str, Any]) -> None:
        """Raises ValueError for parameters that are no law."""

    def __post_init__(self) -> None:
        check_seed(self.seed)  # pyright: ignore[reportAttributeAccessIssue]
        self.check(self._numbers()[0])

    def __call__(self, shape: int | Sequence[int]) -> Any:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        size = math.prod(sizes)
        out = empty((size,), environ.dftype(), f"{size} values of {type(self).__name__}")
        numbers, unit = self._numbers()

        def draw(first: int) -> None:
            key = np.array([self.seed, first // BLOCK], np.uint64)  # pyright: ignore
            rng = np.random.Generator(np.random.Philox(key=key))
            self.block(rng, out[first : first + BLOCK], numbers)

        starts = range(0, size, BLOCK)
        if len(starts) > 1:  # numpy draws without the interpreter's lock
            with ThreadPoolExecutor(library.native().thread_limit()) as pool:
                for _ in pool.map(draw, starts):
                    pass
        elif size:
            draw(0)
        made: jax.Array = take_over(out.reshape(sizes))
        return made if unit is None else made * unit

    def _numbers(self) -> tuple[dict[str, Any], Any]:
        """The parameters as floats, and the unit that they share."""
        values = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "seed"
        }
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
class _Limited(Distribution):
    """A law whose draws outside [low, high] are drawn again."""

    mean: Any
    sd: Any
    low: Any = None
    high: Any = None
    seed: int = dataclasses.field(kw_only=True)

    @abc.abstractmethod
    def raw(self, rng: np.random.Generator, size: int, numbers: dict[str, Any]) -> np.ndarray:
        """`size` draws without limits, float64."""

    @abc.abstractmethod
    def below(self, x: float, numbers: dict[str, Any]) -> float:
        """The probability of a draw below `x`, a finite number."""

    def check(self, numbers: dict[str, Any]) -> None:
        low, high = numbers["low"], numbers["high"]
        self._require(0 <= numbers["sd"] < math.inf, "sd must be 0 or more and finite")
        self._require(math.isfinite(numbers["mean"]), "mean must be finite")
        if low is None and high is None:
            return
        self._require(low is None or high is None or low <= high, "low must not exceed high")
        if numbers["sd"] == 0:
            mean = numbers["mean"]
            inside = float((low is None or low <= mean) and (high is None or mean <= high))
        else:
            inside = (1.0 if high is None else self.below(high, numbers)) - (
                0.0 if low is None else self.below(low, numbers)
            )
        self._require(
            inside >= RAREST,
            f"only {inside:.2g} of the draws lie inside the limits, and those outside are drawn "
            f"again; let {RAREST} or more be inside",
        )

    def block(self, rng: np.random.Generator, out: np.ndarray, numbers: dict[str, Any]) -> None:
        # A value counts as rounded to the precision of `out`, and the limits likewise.
        low, high = (
            None if numbers[side] is None else out.dtype.type(numbers[side])
            for side in ("low", "high")
        )
        out[:] = self.raw(rng, out.size, numbers)
        if low is None and high is None:
            return
        wrong = np.flatnonzero(~_inside(out, low, high))
        while wrong.size:
            out[wrong] = self.raw(rng, wrong.size, numbers)
            wrong = wrong[~_inside(out[wrong], low, high)]


def _inside(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
    if low is None or high is None:
        return x <= high if low is None else x >= low
    return (x >= low) & (x <= high)


@dataclasses.dataclass(frozen=True)
class Normal(_Limited):
    """Normal with mean `mean` and deviation `sd`, drawn again until inside [low, high].

    Errors: TypeError for parameters of different dimensions; ValueError for a negative sd, and for
    limits that hold less than a thousandth of the draws.

    >>> x = Normal(87.8, 8.78, low=80.0, seed=1)(1000)
    >>> x.shape, bool(x.min() >= 80.0)
    ((1000,), True)
    """

    def raw(self, rng: np.random.Generator, size: int, numbers: dict[str, Any]) -> np.ndarray:
        x = rng.standard_normal(size)
        x *= numbers["sd"]
        x += numbers["mean"]
        return x

    def below(self, x: float, numbers: dict[str, Any]) -> float:
        return math.erfc((numbers["mean"] - x) / (numbers["sd"] * math.sqrt(2))) / 2


@dataclasses.dataclass(frozen=True)
class LogNormal(_Limited):
    """Log-normal, drawn again until inside [low, high].

    `mean` and `sd` are those of the values, not of their logarithms. Errors: those of `Normal`,
    and ValueError for a mean that is not positive.

    >>> x = LogNormal(1.0, 0.5, high=5.0, seed=1)(1000)
    >>> bool(x.min() > 0), bool(x.max() <= 5)
    (True, True)
    """

    def raw(self, rng: np.random.Generator, size: int, numbers: dict[str, Any]) -> np.ndarray:
        return rng.lognormal(*self._logs(numbers), size)

    def below(self, x: float, numbers: dict[str, Any]) -> float:
        mean, sd = self._logs(numbers)
        return 0.0 if x <= 0 else math.erfc((mean - math.log(x)) / (sd * math.sqrt(2))) / 2

    def check(self, numbers: dict[str, Any]) -> None:
        self._require(numbers["mean"] > 0, "the mean of a log-normal law must be positive")
        super().check(numbers)

    @staticmethod
    def _logs(numbers: dict[str, Any]) -> tuple[float, float]:
        variance = math.log1p((numbers["sd"] / numbers["mean"]) ** 2)
        return math.log(numbers["mean"]) - variance / 2, math.sqrt(variance)


@dataclasses.dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform in [low, high).

    Errors: TypeError for limits of different dimensions, ValueError where low exceeds high.

    >>> x = Uniform(0.5, 2.5, seed=1)(1000)
    >>> bool(x.min() >= 0.5), bool(x.max() <= 2.5)
    (True, True)
    """

    low: Any
    high: Any
    seed: int = dataclasses.field(kw_only=True)

    def check(self, numbers: dict[str, Any]) -> None:
        self._require(
            -math.inf < numbers["low"] <= numbers["high"] < math.inf,
            "low and high must be finite, and low must not exceed high",
        )

    def block(self, rng: np.random.Generator, out: np.ndarray, numbers: dict[str, Any]) -> None:
        rng.random(out.size, dtype=out.dtype, out=out)
        out *= numbers["high"] - numbers["low"]
        out += numbers["low"]
