"""`param`: whatever a user may give for a parameter, as a value of the right shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..random.draw import as_shape
from ..state import State


def param(
    value: Any,
    sizes: int | Sequence[int],
    batch_size: int | Sequence[int] | None = None,
    *,
    allow_none: bool = True,
    allow_scalar: bool = True,
) -> Any:
    """The parameter or initial state that `value` stands for.

    A function (an initialiser) is called with the shape, leading batch axes included; a number is
    returned as it is; an array must broadcast to `sizes` and is repeated along the batch; a State
    is returned itself, when there is no batch.  None stays None.

    >>> param(lambda shape: jnp.zeros(shape), 3, batch_size=2).shape
    (2, 3)
    """
    shape = as_shape(sizes, ())
    lead = as_shape(batch_size, ())
    if value is None:
        if allow_none:
            return None
        raise ValueError("this parameter must be given: pass a number, an array or an initialiser")
    if isinstance(value, State):
        if not lead:
            return value
        value = value.value
    if isinstance(value, list | tuple):
        value = np.asarray(value)
    if isinstance(value, Callable):
        made = value((*lead, *shape))
        if jnp.shape(made) != (*lead, *shape):
            raise ValueError(
                f"the initialiser {value!r} made shape {jnp.shape(made)}, not {(*lead, *shape)}"
            )
        return made
    found = jnp.shape(value)
    if found == ():
        if allow_scalar:
            return value
        raise ValueError(
            f"this parameter must be an array of shape {shape}, got the number {value}"
        )
    if found == (*lead, *shape):
        return value
    if len(found) > len(shape) or any(
        a not in (1, b) for a, b in zip(reversed(found), reversed(shape), strict=False)
    ):
        raise ValueError(
            f"this parameter has shape {found}, which does not fit {shape}; "
            "give a number, an array of that shape or an initialiser"
        )
    # Arithmetic instead of broadcast_to, because it keeps a unit.
    return value * jnp.ones((*lead, *shape), jnp.result_type(_number(value))) if lead else value


def _number(value: Any) -> Any:
    return getattr(value, "mantissa", value)
