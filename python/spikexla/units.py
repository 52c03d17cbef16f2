"""Physical units at the surface: quantities in, plain numbers of one coherent system inside.

Inside, models compute in {ms, mV, mA, ohm, S, mF, kHz}, where mV = mA * ohm and 1 / ms = kHz, so
that no equation needs a factor.  `brainunit` is loaded only by those who use it: a Quantity can
exist only after somebody has imported it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import config, warn_once

# Spelled as attributes of brainunit.  '1' is a pure number.
COHERENT = ("ms", "mV", "mA", "ohm", "S", "mF", "kHz")
_SPELLED = {"S": "siemens", "mF": "mfarad", "kHz": "khertz", "1": "UNITLESS"}


class UnitlessInputWarning(UserWarning):
    """A plain number was given where a model carries a unit."""


def is_quantity(x: Any) -> bool:
    """Whether `x` carries a unit of brainunit (imported or not by this process)."""
    for name in ("saiunit", "brainunit"):
        module = sys.modules.get(name)
        kind = getattr(module, "Quantity", None)
        if kind is not None and isinstance(x, kind):
            return True
    return False


@functools.cache
def unit(name: str) -> Any:
    """The brainunit unit called `name`, one of the coherent system or any brainunit attribute."""
    import brainunit

    found = getattr(brainunit, _SPELLED.get(name, name), None)
    if found is None:
        raise ValueError(f"no unit {name!r}; the coherent system is {', '.join(COHERENT)}")
    return found


def mantissa(x: Any, name: str, *, what: str) -> Any:
    """The number of `name` units in `x`; plain numbers and arrays pass through.

    Raises TypeError, naming `what`, when `x` has another dimension.  Works on traced values.

    >>> mantissa(5.0, "ms", what="tau")
    5.0
    """
    if not is_quantity(x):
        return x
    target = unit(name)
    if not x.unit.has_same_dim(target):
        found = str(x.unit) or "no unit"
        raise TypeError(
            f"{what} must be given in {name} or a unit of the same dimension, got {found}. "
            f"Write for example {what} = 1.0 * brainunit.{_SPELLED.get(name, name)}."
        )
    return x.to_decimal(target)


def real(x: Any, dtype: Any, *, what: str) -> np.ndarray:
    """`x` as a numpy array of a float type. TypeError, naming `what`, for what is no real number.

    >>> real([1, 2], float, what="tau")
    array([1., 2.])
    """
    array = np.asarray(x)
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{what} is {x!r}; give a real number or an array of them.")
    return array.astype(dtype, copy=False)


def expect(x: Any, name: str, *, what: str) -> Any:
    """`mantissa` for a model that carries units: a plain number is read in `name`, with a warning.

    The warning is given once for each `what`; with `config.strict_units` it is a TypeError.
    """
    if is_quantity(x):
        return mantissa(x, name, what=what)
    message = (
        f"{what} has no unit where a quantity in {name} is expected; it was read as {name}. "
        f"Multiply it by brainunit.{_SPELLED.get(name, name)} to say so."
    )
    if config.strict_units:
        raise TypeError(f"{message} (config.strict_units is on: a unit is required.)")
    warn_once(f"unitless {what}", message, UnitlessInputWarning, stacklevel=4)
    return x


def unit_lost(before: Any, after: Any) -> Any | None:
    """The first unit that a tree of arrays has and its successor, of the same keys, has not.

    Both are tree structures; None where no quantity became a plain number.
    """
    old, keys = _quantities(before)
    new, new_keys = _quantities(after)
    if keys != new_keys:
        return None
    pairs = zip(old, new, strict=True)
    return next((x.unit for x, y in pairs if is_quantity(x) and not is_quantity(y)), None)


def _quantities(tree: Any) -> tuple[list[Any], Any]:
    return jax.tree.flatten(jax.tree.unflatten(tree, [0] * tree.num_leaves), is_leaf=is_quantity)


def warn_unit_lost(label: str, lost: Any) -> None:
    """Says, once for each State, that a plain number took the place of a quantity in it.

    With `config.strict_units` it is a TypeError.
    """
    read = next((name for name in COHERENT if unit(name).has_same_dim(lost)), None)
    then = "" if read is None else f"; models read it in {read}"
    message = (
        f"{label} carries the unit {lost} and was given a plain number, which it now holds{then}. "
        f"Write a quantity in {lost}."
    )
    if config.strict_units:
        raise TypeError(f"{message} (config.strict_units is on: a unit is required.)")
    warn_once(f"unit lost {label}", message, UnitlessInputWarning, stacklevel=6)


def attach(x: Any, name: str) -> Any:
    """The quantity of `x` in the unit called `name`."""
    import brainunit

    return brainunit.Quantity(x, unit=unit(name))
