"""Initialisers: frozen recipes that make an array of a given shape."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from .. import environ, random
from ..units import is_quantity


@dataclasses.dataclass(frozen=True)
class Initializer(abc.ABC):
    """A recipe for an array: call it with a shape.

    `init(size)`, `init(shape=size)`; `key=` draws from that key instead of `spikexla.random`,
    `dtype=` overrides the precision of the environment.  `unit=` at construction makes the result a
    quantity.
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
    ) -> Any:
        if (size is None) == (shape is None):
            raise TypeError(
                f"{type(self).__name__} needs one shape: call it as init((3, 4)) "
                "or init(shape=(3, 4))"
            )
        sizes = random._shape(shape if size is None else size, ())
        made = self.make(sizes, dtype or environ.dftype(), key)
        return made if self.unit is None else made * self.unit


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


class _VarianceScaling(NamedTuple):
    gain: float
    mode: Literal["fan_in", "fan_out", "fan_avg"]
    distribution: Literal["normal", "uniform"]

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) != 1:
            draw = jax.nn.initializers.variance_scaling(*self, dtype=dtype)
            return draw(key, shape)
        std = math.sqrt(self.gain / max(shape[0], 1))  # jax asks for two axes
        if self.distribution == "normal":
            return std * jax.random.normal(key, shape, dtype)
        limit = math.sqrt(3.0) * std
        return jax.random.uniform(key, shape, dtype, -limit, limit)


class _Orthogonal(NamedTuple):
    scale: float

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        wide = jnp.promote_types(dtype, jnp.float32)  # the QR decomposition needs it
        return jax.nn.initializers.orthogonal(self.scale, dtype=wide)(key, shape).astype(dtype)


@dataclasses.dataclass(frozen=True)
class _Scaled(Initializer):
    """Variance `gain / fan`, where a fan counts the connections of one unit.

    The last axis are the units connected to, the one before those connected from; a vector counts
    its length as both.
    """

    @abc.abstractmethod
    def law(self) -> _VarianceScaling:
        """The gain, the fan and the distribution to draw from."""

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if not shape:
            raise ValueError(f"{type(self).__name__} needs a shape of one axis or more, got ()")
        return random._draw(self.law(), (), shape, key, dtype)


@dataclasses.dataclass(frozen=True)
class XavierNormal(_Scaled):
    """Normal with variance `scale * 2 / (fan_in + fan_out)` (Glorot and Bengio, 2010)."""

    scale: float = 1.0

    def law(self) -> _VarianceScaling:
        return _VarianceScaling(self.scale, "fan_avg", "normal")


@dataclasses.dataclass(frozen=True)
class XavierUniform(_Scaled):
    """Uniform with variance `scale * 2 / (fan_in + fan_out)` (Glorot and Bengio, 2010)."""

    scale: float = 1.0

    def law(self) -> _VarianceScaling:
        return _VarianceScaling(self.scale, "fan_avg", "uniform")


@dataclasses.dataclass(frozen=True)
class KaimingNormal(_Scaled):
    """Normal with variance `scale / fan_in` (He et al., 2015); `scale=2` is for ReLU."""

    scale: float = 2.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"

    def law(self) -> _VarianceScaling:
        return _VarianceScaling(self.scale, self.mode, "normal")


@dataclasses.dataclass(frozen=True)
class KaimingUniform(_Scaled):
    """Uniform with variance `scale / fan_in` (He et al., 2015); `scale=2` is for ReLU."""

    scale: float = 2.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"

    def law(self) -> _VarianceScaling:
        return _VarianceScaling(self.scale, self.mode, "uniform")


@dataclasses.dataclass(frozen=True)
class Orthogonal(Initializer):
    """An orthogonal matrix times `scale`; rows or columns, whichever are fewer, are orthonormal.

    All axes but the last are taken together as rows.
    """

    scale: float = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of two axes or more, got {shape}")
        return random._draw(_Orthogonal(self.scale), (), shape, key, dtype)


@dataclasses.dataclass(frozen=True)
class Identity(Initializer):
    """`scale` on the diagonal of a matrix (of its last two axes), zero elsewhere."""

    scale: float = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if len(shape) < 2:
            raise ValueError(f"Identity needs a shape of two axes or more, got {shape}")
        return jnp.broadcast_to(self.scale * jnp.eye(*shape[-2:], dtype=dtype), shape)
