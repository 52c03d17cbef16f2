"""Each: every target has an input of its own, weighed by one number or one a target."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import environ, init
from ..dynamics import Size, shape_of
from ..module import Module
from ..ops.rounded import rounded
from ..state import State, has_tracer
from ..synapse.base import plain, unit_name
from ..units import attach


class Each(Module):
    """`weight x`, element by element.

    weight: a number, an array that broadcasts to `in_size`, a quantity, an initialiser, or a State
    of one of them, such as a ParamState to be learned.

    Errors: ValueError for another shape and for NaN; TypeError for a unit of no weight.

    >>> import jax.numpy as jnp
    >>> Each(3, 0.5)(jnp.array([0.0, 1.0, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(self, in_size: Size, weight: Any = 1.0, name: str | None = None) -> None:
        super().__init__(name)
        self.in_size = self.out_size = shape_of(in_size, "Each: in_size")
        if isinstance(weight, State):
            self.weight = weight
            self._checked(weight.value)
        else:
            self.weight = self._checked(weight)

    def _checked(self, weight: Any) -> Any:
        try:
            made = init.param(weight, self.in_size, allow_none=False)
        except ValueError as error:
            raise ValueError(f"weight: {error}") from None
        unit_name(made)
        number = plain(made)
        if not has_tracer(number) and bool(jnp.isnan(jnp.asarray(number)).any()):
            raise ValueError("a weight is NaN; weights must be numbers")
        return made

    @property
    def weight_mantissa(self) -> jax.Array:
        """The weight as a plain array in the coherent unit, `()` or one a target."""
        weight = jnp.asarray(plain(getattr(self.weight, "value", self.weight)), environ.dftype())
        return weight.reshape(()) if weight.size == 1 else jnp.broadcast_to(weight, self.in_size)

    @property
    def unit(self) -> str | None:
        """'S', 'mA', 'mV' or '1', or None for plain weights."""
        return unit_name(getattr(self.weight, "value", self.weight))

    def accumulate(self, x: Any, total: Any = None) -> jax.Array:
        """`total + weight x` as a plain array, of the type of `total`."""
        weight = self.weight_mantissa
        weight = weight if total is None else weight.astype(total.dtype)
        y = weight * jnp.asarray(x).astype(weight.dtype)
        return y if total is None else total + rounded(y)

    def update(self, x: Any) -> Any:
        y = self.accumulate(x)
        return y if self.unit is None else attach(y, self.unit)
