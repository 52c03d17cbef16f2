"""What a pickle of a checkpoint may name, and what it stands for here.

Nothing that a name means elsewhere is called with what a file says, but for constructors of plain
values and of units, which get plain values.
"""

from __future__ import annotations

import collections
import datetime
import functools
import io
import math
import pickle
import sys
from collections.abc import Callable
from typing import Any, final

import jax
import numpy as np

from ..optim.state import OptimState
from ..state import LongTermState, ParamState, ShortTermState, State
from ..statedict import PathKey
from .dtypes import dtype_of

_STATES = {kind.__name__: kind for kind in (State, ParamState, ShortTermState, LongTermState)}
_DATES = {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta")}
# What pickles of brainunit 0.5 name; later versions have it for them.
_OLDER_UNITS = (("saiunit._base_unit", "_to_unit"),)
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


@final
class Name:
    """A function or class that a pickle names."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


@final
class Raw:
    """A thing that is made when its state comes, which pickles call BUILD."""

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.build = build
        self.memos: list[int] = []


@final
class StateOf:
    """A State, of a value that has not been looked at."""

    def __init__(self, kind: type[State], saved: dict) -> None:
        self.kind, self.raw, self.name = kind, saved["value"], saved.get("name")


def a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise pickle.UnpicklingError(f"{type(value).__name__} where a {kind.__name__} is needed")
    return value


def _array(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    data, dtype = a((bytes, bytearray), buffer), a(np.dtype, dtype)  # pyright: ignore
    shape = tuple(a(int, n) for n in a(tuple, shape))
    if order not in ("C", "F") or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} and order {order!r}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of shape {shape} and type {dtype}")
    return np.ndarray(shape, dtype, bytes(data) if data else None, order=order)


def _array_of_state(state: Any) -> np.ndarray:
    _, shape, dtype, fortran, data = a(tuple, state)
    return _array(data, dtype, shape, "F" if fortran else "C")


def _dtype(name: Any, *_: Any) -> Raw:
    dtype = dtype_of(name.name if isinstance(name, Name) else name)

    def build(state: Any) -> np.dtype:
        _, byteorder, *fields = a(tuple, state)
        if any(field is not None for field in fields[:3]) or byteorder not in ("<", ">", "|", "="):
            raise ValueError("an array of records")
        return dtype.newbyteorder(byteorder) if byteorder in "<>" else dtype

    return Raw(build)


def _jax_array(_made: Any, _arguments: Any, state: Any, aval: Any) -> Any:
    array = _array_of_state(state)
    weak = bool(a(dict, aval).get("weak_type")) and not array.ndim
    return array.item() if weak else array


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _state(kind: type[State]) -> Callable[..., Raw]:
    return lambda *_: Raw(lambda saved: StateOf(kind, a(dict, saved)))


def _path(parts: Any) -> PathKey:
    return PathKey(a((str, int), part) for part in a(tuple, parts))  # pyright: ignore


def _key() -> Raw:
    def build(saved: Any) -> Any:
        data = a(np.ndarray, a(dict, saved)["data"])
        return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=a(str, saved["impl"]))

    return Raw(build)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of plain values only."""

    def called(*arguments: Any) -> Any:
        for x in arguments:
            a((*_PLAIN, datetime.timedelta, datetime.timezone), x)  # pyright: ignore
        return function(*arguments)

    return called


def _bytearray(data: Any = b"") -> bytearray:
    return bytearray(a(bytes, data))


@functools.cache
def makers() -> dict[tuple[str, str], Callable[..., Any]]:
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("builtins", "complex"): _plainly(complex),
        ("builtins", "range"): _plainly(range),
        ("builtins", "slice"): _plainly(slice),
        ("builtins", "set"): lambda items=(): set(a(list, items)),
        ("builtins", "frozenset"): lambda items=(): frozenset(a(list, items)),
        ("builtins", "bytearray"): _bytearray,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("jax._src.array", "_reconstruct_array"): _jax_array,
        ("numpy", "dtype"): _dtype,
        ("numpy", "ndarray"): _no_call,  # is named as an argument only, as are the next ones
        ("spikexla.statedict", "StateDict"): States,
        ("spikexla.statedict", "PathKey"): _path,
        ("spikexla.optim.state", "OptimState"): _state(OptimState),
    }
    known |= {("ml_dtypes", name): _no_call for name in ("bfloat16", "int4", "uint4")}
    known |= {("ml_dtypes", name): _no_call for name in ("float8_e4m3fn", "float8_e5m2")}
    for numpy in ("numpy._core", "numpy.core"):
        known[f"{numpy}.multiarray", "_reconstruct"] = lambda *_: Raw(_array_of_state)
        known[f"{numpy}.multiarray", "scalar"] = _scalar
        known[f"{numpy}.numeric", "_frombuffer"] = _array
    known |= {("spikexla.state", name): _state(kind) for name, kind in _STATES.items()}
    known |= {(module, "_Key"): _key for module in ("spikexla.state", "spikexla.value")}
    known |= {("datetime", name): _plainly(kind) for name, kind in _DATES.items()}
    known["datetime", "timezone"] = _plainly(datetime.timezone)
    return known | _units()


class States(dict):
    """A StateDict whose keys and values have not been looked at."""

    def __init__(self) -> None:
        super().__init__()


def _no_call(*_: Any) -> Any:
    raise pickle.UnpicklingError("a type is called")


def _units() -> dict[tuple[str, str], Callable[..., Any]]:
    """What pickles of quantities name, in the installed version of brainunit and in older ones."""
    import brainunit as u

    class Note(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = super().find_class(module, name)
            if module.partition(".")[0] in ("saiunit", "brainunit"):
                makers[module, name] = _of_data(found)
            return found

    makers: dict[tuple[str, str], Callable[..., Any]] = {}
    for module, name in _OLDER_UNITS:
        found = getattr(sys.modules.get(module), name, None)
        if found is not None:
            makers[module, name] = _of_data(found)
    for sample in (1.0 * u.mV, np.ones(1) * (u.mV / u.ms**2), 2.0 * u.UNITLESS):
        Note(io.BytesIO(pickle.dumps(sample))).load()
    return makers


def _of_data(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of plain values, arrays, lists of them, and what these functions give."""

    def is_data(x: Any) -> bool:
        if isinstance(x, list | tuple):
            return all(isinstance(y, _PLAIN) or is_data(y) for y in x)
        ours = type(x).__module__.partition(".")[0] in ("saiunit", "brainunit")
        return isinstance(x, (*_PLAIN, np.ndarray, np.generic)) or ours

    def called(*arguments: Any) -> Any:
        if not all(map(is_data, arguments)):
            raise pickle.UnpicklingError("a unit of something else than numbers")
        return function(*arguments)

    return called


def named_tuple(module: str, name: str) -> Any:
    """The named tuple of optax of this name, if it is one; what an optimiser remembers."""
    if module.partition(".")[0] != "optax":
        return None
    import optax  # noqa: F401

    found = getattr(sys.modules.get(module), name, None)
    is_tuple = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
    return found if is_tuple else None
