"""The types of numbers that a checkpoint may have."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

_NUMPY = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NUMPY += ("float16", "float32", "float64", "complex64", "complex128")
_OTHERS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4")

DTYPES = {name: np.dtype(getattr(jnp, name)) for name in (*_NUMPY, *_OTHERS)}
_SHORT = {DTYPES[name].str[1:]: DTYPES[name] for name in _NUMPY}  # 'f4'


def dtype_of(name: Any) -> np.dtype:
    """The type of this name, such as 'float32' or 'f4'. ValueError for all but numbers."""
    found = DTYPES.get(name) or _SHORT.get(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError(f"the type {name!r} is none of {', '.join(DTYPES)}")
    return found
