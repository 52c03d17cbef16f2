"""Initialisers of matrices with a structure."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import random
from .initializers import Initializer


class _Orthogonal(NamedTuple):
    name: str
    scale: float

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        wide = jnp.promote_types(dtype, jnp.float32)  # the QR decomposition needs it
        make = getattr(jax.nn.initializers, self.name)
        return make(self.scale, dtype=wide)(key, shape).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Orthogonal(Initializer):
    """An orthogonal matrix times `scale`; rows or columns, whichever are fewer, are orthonormal.

    All axes but the last are taken together as rows.
    """

    scale: float = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of two axes or more, got {shape}")
        return random.DEFAULT.draw(_Orthogonal("orthogonal", self.scale), (), shape, key, dtype)


@dataclasses.dataclass(frozen=True)
class DeltaOrthogonal(Initializer):
    """A convolution kernel that is an orthogonal matrix at its centre and zero elsewhere.

    The shape is (..., in, out) with one to three spatial axes, and `out` at least `in`.
    """

    scale: float = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if len(shape) not in (3, 4, 5) or shape[-1] < shape[-2]:
            raise ValueError(
                f"DeltaOrthogonal needs a shape (space..., in, out) of 3 to 5 axes with out >= in, "
                f"got {shape}"
            )
        law = _Orthogonal("delta_orthogonal", self.scale)
        return random.DEFAULT.draw(law, (), shape, key, dtype)


@dataclasses.dataclass(frozen=True)
class Identity(Initializer):
    """`scale` on the diagonal of a matrix (of its last two axes), zero elsewhere."""

    scale: float = 1.0

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if len(shape) < 2:
            raise ValueError(f"Identity needs a shape of two axes or more, got {shape}")
        return jnp.broadcast_to(self.scale * jnp.eye(*shape[-2:], dtype=dtype), shape)
