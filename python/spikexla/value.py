"""The value of a State, one array or a tree: taken apart, described, sent through pickle."""

from __future__ import annotations

import math
import operator
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

LEAF = jax.tree.structure(0)  # the tree of a value that is one array
NOTHING = jax.tree.structure(None)  # this very object: the tree of a State that lost its value

leaf_types: set[type] = {int, float, bool, complex}  # grows by the array types met

# What counts as data; everything else is a setting, or an object that no program can hold.
DATA = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, jax.ShapeDtypeStruct)


def has_tracer(value: Any) -> bool:
    """Whether any array in `value` is a tracer."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def refuse_objects(value: Any, state: Any) -> None:
    """TypeError if `value`, which was given to `state`, has a leaf that is no data."""
    for leaf in jax.tree.leaves(value):
        if type(leaf) not in leaf_types and not isinstance(leaf, DATA):
            raise TypeError(
                f"{state.label} was given {leaf!r}; a State holds arrays, numbers, quantities and "
                "trees of them. Make anything else an attribute of the module."
            )


def take_apart(value: Any) -> tuple[Any, Any]:
    """The raw form of a value: (array, LEAF), or (list of arrays, tree)."""
    if type(value) in leaf_types:
        return value, LEAF
    if isinstance(value, jax.Array):
        if not isinstance(value, Tracer):
            leaf_types.add(type(value))
        return value, LEAF
    if isinstance(value, np.ndarray | np.generic):
        return jax.numpy.asarray(value), LEAF
    leaves, tree = jax.tree.flatten(value)
    if tree == LEAF:
        return value, LEAF
    # numpy arrays can be changed behind a State's back; jax arrays cannot.
    leaves = [jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x for x in leaves]
    return leaves, tree


def lead_of(batch_size: Any) -> tuple[int, ...]:
    """The leading axes that `batch_size` stands for: None, a number of trials, or a tuple.

    >>> lead_of(None), lead_of(32), lead_of((2, 3))
    ((), (32,), (2, 3))
    """
    if batch_size is None:
        return ()
    try:
        sizes = batch_size if isinstance(batch_size, tuple | list) else (batch_size,)
        lead = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"batch_size={batch_size!r} must be a number of trials, a tuple of them, or None"
        ) from None
    if min(lead, default=0) < 0:
        raise ValueError(f"batch_size={batch_size!r} is negative; give the number of trials")
    return lead


# -- description ----------------------------------------------------------------------------------


def described(value: Any) -> str:
    """`float32[32,100] mV, 12.8 kB`; a plain number shows all there is."""
    if isinstance(value, bool | int | float | complex):
        return summary(value)
    return f"{summary(value)}, {spelled_bytes(size(value)[1])}"


def summary(value: Any) -> str:
    """`float32[32,100] mV` for each array of the value, in the value's own structure."""
    if type(value).__name__ == "Quantity":
        return f"{_one(value.mantissa)} {value.unit}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {summary(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(summary, value)) + ")"
    return _one(value)


def _one(leaf: Any) -> str:
    if not isinstance(leaf, jax.Array | np.ndarray):
        return repr(leaf)
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def size(value: Any) -> tuple[int, int]:
    """How many numbers the value has, and how many bytes they take."""
    numbers = nbytes = 0
    for leaf in jax.tree.leaves(value):
        count = math.prod(np.shape(leaf))
        numbers += count
        if isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            nbytes += count * jax.numpy.result_type(leaf).itemsize
    return numbers, nbytes


def spelled_bytes(nbytes: int) -> str:
    """`12.8 kB`: three digits, in powers of 1000.

    >>> spelled_bytes(12800), spelled_bytes(84)
    ('12.8 kB', '84 B')
    """
    amount, prefix = float(nbytes), 0
    while amount >= 999.5 and prefix < 4:
        amount, prefix = amount / 1000, prefix + 1
    return f"{amount:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[prefix]}"


# -- pickle ---------------------------------------------------------------------------------------


class _Key:
    """A typed random key on its way through pickle."""

    def __init__(self, key: jax.Array) -> None:
        self.data = np.asarray(jax.random.key_data(key))
        self.impl = str(jax.random.key_impl(key))


def to_host(value: Any) -> Any:
    """The value with numpy arrays for those of jax, so that a pickle loads on any device."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return _Key(leaf)
        return np.asarray(leaf)

    return jax.tree.map(one, value)


def from_host(value: Any) -> Any:
    """The inverse of `to_host`."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, _Key):
            return jax.random.wrap_key_data(jax.numpy.asarray(leaf.data), impl=leaf.impl)
        return jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf

    return jax.tree.map(one, value, is_leaf=lambda x: isinstance(x, _Key))
