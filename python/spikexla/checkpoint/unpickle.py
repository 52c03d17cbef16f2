"""Reads a pickle without running anything that it names.

A pickle is a program for a stack machine whose calls may be to any function. Here the machine knows
a fixed list of names, and makes itself what they stand for: arrays from bytes and one of a list of
types, quantities, States, dates and plain containers. Anything else is refused by its name.

    bytes -> _Machine: raw values, arrays -> _Settled: each value once, States made, size bounded
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, final

import numpy as np

from ..state import State
from ..statedict import PathKey, StateDict
from .pickle_names import Name, Raw, StateOf, States, a, makers, named_tuple
from .snapshot import CheckpointError

_MOST = 10_000_000  # values in all, those that are there twice counted twice
_DEEPEST = 200  # containers in containers


def unpickled(data: bytes) -> Any:
    """What `pickle.loads` would give. CheckpointError for a name that is not known here.

    Arrays of jax that are weak numbers come back as numbers, States without their attributes. Any
    other exception means that the bytes are no pickle of protocol 3 or later.
    """
    return _Settled().value(_Machine(data).run())


@final
class _Machine:
    """The stack machine of a pickle, without calls."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._room = 8 * len(data) + (1 << 20)  # bytes of arrays that so many can stand for

    def run(self) -> Any:
        for op, argument, _ in pickletools.genops(io.BytesIO(self._data)):
            name = op.name
            if name in _IS_ARGUMENT:
                self._stack.append(argument)
            elif name in _MAKES:
                self._stack.append(_MAKES[name]())
            elif name == "STOP":
                return self._stack[-1]
            elif name not in ("PROTO", "FRAME"):
                does = getattr(self, "_" + name.lower(), None)
                if does is None:
                    raise CheckpointError(
                        f"has {name}, which pickles of protocol 3 to 5 of plain data have not. "
                        "Write it with protocol 4, or, if you trust where it is from, load it with "
                        "trusted=True."
                    )
                does(argument)
        raise pickle.UnpicklingError("the end is missing")

    # -- the operations of `pickletools` --------------------------------------------------------

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list:
        at = self._marks.pop()
        items = self._stack[at:]
        del self._stack[at:]
        return items

    def _pop(self, _: Any) -> None:
        self._stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _binput(self, key: int) -> None:
        self._memo[key] = top = self._stack[-1]
        if isinstance(top, Raw):
            top.memos.append(key)

    _long_binput = _binput

    def _memoize(self, _: Any) -> None:
        self._binput(len(self._memo))

    def _binget(self, key: int) -> None:
        self._stack.append(self._memo[key])

    _long_binget = _binget

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _tuple2(self, _: Any) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _tuple3(self, _: Any) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(self._since_mark()))

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        a(list, self._stack[-1]).append(item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        a(list, self._stack[-1]).extend(items)

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        a(set, self._stack[-1]).update(items)

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        a(dict, self._stack[-1])[key] = value

    def _setitems(self, _: Any) -> None:
        items = self._since_mark()
        a(dict, self._stack[-1]).update(zip(items[::2], items[1::2], strict=True))

    def _global(self, names: str) -> None:
        self._name(*names.split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(a(str, module), a(str, name))

    def _name(self, module: str, name: str) -> None:
        if (module, name) not in makers() and named_tuple(module, name) is None:
            raise CheckpointError(
                f"names {module}.{name}, which is not part of a checkpoint; unpickling would run "
                "it. If you trust where the file is from, load it with trusted=True."
            )
        self._stack.append(Name(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, made = a(tuple, self._stack.pop()), a(Name, self._stack.pop())
        kind = named_tuple(made.module, made.name)
        if kind is not None:
            if len(arguments) != len(kind._fields):
                raise ValueError(f"{made} has {len(arguments)} fields")
            value = tuple.__new__(kind, arguments)
        else:
            value = makers()[made.module, made.name](*arguments)
        if isinstance(value, np.ndarray):
            self._take(value)
        self._stack.append(value)

    _newobj = _reduce

    def _build(self, _: Any) -> None:
        state, raw = self._stack.pop(), a(Raw, self._stack.pop())
        value = raw.build(state)
        if isinstance(value, np.ndarray):
            self._take(value)
        for key in raw.memos:
            self._memo[key] = value
        self._stack.append(value)

    def _take(self, array: np.ndarray) -> None:
        self._room -= array.nbytes
        if self._room < 0:
            raise MemoryError("its arrays are larger than the file")


_IS_ARGUMENT = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES"),
    *("BINBYTES8", "BYTEARRAY8", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_MAKES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


# -- raw values become values ---------------------------------------------------------------------


@final
class _Settled:
    """Makes values of raw ones, each once; refuses what holds itself and what has no end."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, Any]] = {}  # value, how many it counts for, raw
        self._open: list[int] = []

    def value(self, raw: Any) -> Any:
        return self._made(raw)[0]

    def _made(self, raw: Any) -> tuple[Any, int]:
        known = self._known.get(id(raw))
        if known is not None:
            return known[:2]
        if id(raw) in self._open or len(self._open) > _DEEPEST:
            raise pickle.UnpicklingError("a container holds itself, or too many in each other")
        self._open.append(id(raw))
        value, count = self._make(raw)
        self._open.pop()
        if count > _MOST:
            raise MemoryError(f"more than {_MOST} values")
        self._known[id(raw)] = value, count, raw
        return value, count

    def _make(self, raw: Any) -> tuple[Any, int]:
        if isinstance(raw, StateOf):
            return self._state(raw)
        if isinstance(raw, dict):
            kind = {States: StateDict, collections.OrderedDict: collections.OrderedDict}
            pairs = [(self._made(key), self._made(value)) for key, value in raw.items()]
            made = kind.get(type(raw), dict)((key, value) for (key, _), (value, _) in pairs)
            return made, 1 + sum(k + v for (_, k), (_, v) in pairs)
        if isinstance(raw, PathKey):
            return raw, 1
        if isinstance(raw, list | tuple | set | frozenset):
            items = [self._made(item) for item in raw]
            values, count = [value for value, _ in items], 1 + sum(n for _, n in items)
            if isinstance(raw, tuple):
                return tuple.__new__(type(raw), values), count
            return type(raw)(values), count
        if isinstance(raw, Name | Raw):
            raise pickle.UnpicklingError("something that was not made")
        return raw, 1

    def _state(self, raw: StateOf) -> tuple[State, int]:
        value, count = self._made(raw.raw)
        return raw.kind(value, None if raw.name is None else a(str, raw.name)), count
