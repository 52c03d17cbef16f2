"""Linear: a dense layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import environ, init
from ..dynamics import Size, shape_of
from ..module import Module
from ..state import ParamState
from ..synapse.base import plain, unit_name
from ..units import attach


class Linear(Module):
    """`x @ W + b` over the last axis, as `brainstate.nn.Linear`.

    w_init, b_init: initialisers, numbers or arrays; `b_init=None` leaves the bias away. w_mask is
    multiplied onto W. The State `weight` holds a dict of 'weight' `(n_in, n_out)` and 'bias'
    `(n_out,)`.

    >>> import jax.numpy as jnp, spikexla as sx
    >>> sx.Linear(3, 2, w_init=1.0)(jnp.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        w_init: Any = None,
        b_init: Any = 0.0,
        w_mask: Any = None,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        super().__init__(name)
        self.in_size = shape_of(in_size, "Linear: in_size")
        self.out_size = shape_of(out_size, "Linear: out_size")
        if self.in_size[:-1] != self.out_size[:-1]:
            raise ValueError(
                f"Linear works along the last axis, but in_size {self.in_size} and out_size "
                f"{self.out_size} differ in the others"
            )
        shape = self.in_size[-1], self.out_size[-1]
        value = {"weight": _filled(init.KaimingNormal() if w_init is None else w_init, shape)}
        if b_init is not None:
            value["bias"] = _filled(b_init, shape[1:])
        self.w_mask = None if w_mask is None else init.param(w_mask, shape)
        self.weight = param_type(value)

    @property
    def unit(self) -> str | None:
        """'S', 'mA', 'mV' or '1', or None for plain weights."""
        return unit_name(self.weight.value["weight"])

    def accumulate(self, x: Any, total: Any = None) -> jax.Array:
        """`total + x @ W + b` as a plain array."""
        value = {name: plain(part) for name, part in self.weight.value.items()}
        weight = value["weight"] if self.w_mask is None else value["weight"] * self.w_mask
        x = jnp.asarray(x)
        y = (x if x.dtype != bool else x.astype(weight.dtype)) @ weight
        y = y + value["bias"] if "bias" in value else y
        return y if total is None else total + y

    def update(self, x: Any) -> Any:
        y = self.accumulate(x)
        return y if self.unit is None else attach(y, self.unit)


def _filled(value: Any, shape: tuple[int, ...]) -> Any:
    made = init.param(value, shape, allow_none=False)
    unit = unit_name(made)
    number = jnp.array(jnp.broadcast_to(jnp.asarray(plain(made), environ.dftype()), shape))
    return number if unit is None else attach(number, unit)
