"""Initialisers: frozen recipes that make an array of a given shape."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .. import environ, random
from ..random.draw import as_shape
from ..units import is_quantity


@dataclasses.dataclass(frozen=True)
class Initializer(abc.ABC):
    """A recipe for an array: call it with a shape.

    `init(size)`, `init(shape=size)`; `key=` or `rng=` (a `RandomState`) draws from that instead of
    `spikexla.random`, `dtype=` overrides the precision of the environment.  `unit=` at construction
    makes the result a quantity in that unit.
    """

    unit: Any = dataclasses.field(default=None, kw_only=True)

    @abc.abstractmethod
    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        """The plain array; `key` is None to draw from `spikexla.random`."""

    def __call__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        key: Any = None,
        rng: random.RandomState | None = None,
    ) -> Any:
        if (size is None) == (shape is None):
            raise TypeError(
                f"{type(self).__name__} needs one shape: call it as init((3, 4)) "
                "or init(shape=(3, 4))"
            )
        sizes = as_shape(shape if size is None else size, ())
        key = key if rng is None else rng.split_key()
        made = self.make(sizes, dtype or environ.dftype(), key)
        if self.unit is None:
            return made
        return (made.to_decimal(self.unit) if is_quantity(made) else made) * self.unit


@dataclasses.dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `value`, a number, quantity or array that broadcasts to the shape.

    >>> Constant(2.0)(3)
    Array([2., 2., 2.], dtype=float32)
    """

    value: Any

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if is_quantity(self.value):
            unit = self.value.unit
            return jnp.full(shape, self.value.to_decimal(unit), dtype) * unit
        return jnp.full(shape, self.value, dtype)


@dataclasses.dataclass(frozen=True)
class ZeroInit(Initializer):
    """Zeros."""

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        return jnp.zeros(shape, dtype)
