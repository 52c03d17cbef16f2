"""Initialisers made of initialisers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import random
from ..units import is_quantity
from .initializers import Initializer


@dataclasses.dataclass(frozen=True)
class Scaled(Initializer):
    """What `base` makes, times `scale_factor`, a number or a quantity."""

    base: Initializer
    scale_factor: Any

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return self.base(shape, dtype=dtype, key=key) * self.scale_factor


@dataclasses.dataclass(frozen=True)
class Clipped(Initializer):
    """What `base` makes, cut off at `min_val` and `max_val`, of its unit; None for no bound."""

    base: Initializer
    min_val: Any = None
    max_val: Any = None

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        made = self.base(shape, dtype=dtype, key=key)
        if not is_quantity(made):
            return jnp.clip(made, self.min_val, self.max_val)
        low, high = (
            None if bound is None else bound.to_decimal(made.unit)
            for bound in (self.min_val, self.max_val)
        )
        return jnp.clip(made.mantissa, low, high) * made.unit


@dataclasses.dataclass(frozen=True)
class Mixture(Initializer):
    """Each element from one of `distributions`, with probabilities in proportion to `weights`."""

    distributions: Sequence[Initializer]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "distributions", tuple(self.distributions))  # a list has no hash
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        weights = self._weights()
        if len(weights) != len(self.distributions) or not (weights >= 0).all() or not weights.any():
            raise ValueError(
                f"Mixture needs a weight of 0 or more for each of its {len(self.distributions)} "
                f"distributions, got {self.weights}"
            )

    def _weights(self) -> np.ndarray:
        return np.asarray([1.0] * len(self.distributions) if self.weights is None else self.weights)

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        keys = _keys(key, len(self.distributions) + 1)
        with np.errstate(divide="ignore"):
            logits = jnp.asarray(np.log(self._weights()))
        which = random.categorical(logits, size=shape, key=keys[0])
        parts = zip(self.distributions, keys[1:], strict=True)
        made = [part(shape, dtype=dtype, key=key) for part, key in parts]
        chosen = made[0]
        for k, other in enumerate(made[1:], start=1):
            chosen = _select(which != k, chosen, other)
        return chosen


@dataclasses.dataclass(frozen=True)
class Conditional(Initializer):
    """From `true_dist` where `condition_fn(index)` holds, else from `false_dist`.

    The function gets the indices along the last axis, as an array.
    """

    condition_fn: Callable[[jax.Array], Any]
    true_dist: Initializer
    false_dist: Initializer

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if not shape:
            raise ValueError("Conditional needs a shape of one axis or more, got ()")
        yes, no = (
            d(shape, dtype=dtype, key=k)
            for d, k in zip((self.true_dist, self.false_dist), _keys(key, 2), strict=True)
        )
        holds = jnp.asarray(self.condition_fn(jnp.arange(shape[-1])), bool)
        return _select(holds, yes, no)


def _keys(key: Any, n: int) -> Any:
    """A key for each of n draws; None for each without a key, to take them from the stream."""
    if key is None:
        return [None] * n
    return random.RandomState(key).split_key(n)


def _select(condition: Any, yes: Any, no: Any) -> Any:
    if not is_quantity(yes) and not is_quantity(no):
        return jnp.where(condition, yes, no)
    if not (is_quantity(yes) and is_quantity(no)):
        raise TypeError("one of the distributions has a unit and another has none; give both one")
    return jnp.where(condition, yes.mantissa, no.to_decimal(yes.unit)) * yes.unit
