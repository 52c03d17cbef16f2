"""What a function closes over, as a key: equal keys mean that a compiled program may be reused.

Loops and gradients are often written with a fresh lambda at each call.  Their programs are kept by
code object and by everything the code can reach: closures, defaults, the globals it names.  Numbers
and strings count by value, States, Modules and arrays by identity, containers by their content.
Settings of Modules are watched separately (`Module._version`).
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np

from ..module import Module
from ..state import LongTermState, ParamState, ShortTermState, State

_MOST = 2000  # things looked at before giving up
_MOST_BYTES = 1 << 16  # of a numpy array, which counts by content
_BY_VALUE = (bool, int, float, complex, str, bytes, type(None), type(...), jax.tree_util.PyTreeDef)
_BY_IDENTITY = (State, jax.Array, type, types.ModuleType, types.BuiltinFunctionType, types.CodeType)
_MADE_ONCE = (jax.Device, jax.sharding.Mesh, jax.sharding.PartitionSpec)  # equal ones are the same
# The usual ones, looked up by their exact type: `isinstance` costs more than all the rest.
_VALUES = frozenset(_BY_VALUE) - {complex}
_IDENTITIES = frozenset(
    (State, ParamState, ShortTermState, LongTermState, type, types.ModuleType, types.CodeType)
)
_COMPOUNDS = frozenset((tuple, list, dict, types.FunctionType, types.MethodType))
_SEQUENCES = (tuple, list)
_LIBRARIES = ("jax", "jaxlib", "numpy", "spikexla", "saiunit", "brainunit", "math", "functools")


class Unkeyable(Exception):
    """A function reaches something whose changes cannot be noticed."""


class Same:
    """An object that counts by identity; holding it keeps the identity from being reused."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it


class Capture:
    """The key of a function and the modules it reaches."""

    def __init__(self, fun: Any) -> None:
        self.modules: list[Module] = []
        self.has_arrays = False
        self._seen: dict[int, tuple[int, Any]] = {}  # by id; held, so that no id is used twice
        self.key = self._key(fun)

    def _key(self, x: Any) -> Hashable:
        kind = type(x)
        if kind in _VALUES:
            return kind, x or str(x)  # 0.0 and -0.0 are equal, but not the same
        if kind in _IDENTITIES:
            return Same(x)
        if id(x) in self._seen:
            return "seen", self._seen[id(x)][0]
        if kind not in _COMPOUNDS:
            if isinstance(x, Module):
                self.modules.append(x)
                return Same(x)
            if isinstance(x, jax.Array):
                self.has_arrays = True
                return Same(x)
            if isinstance(x, _BY_VALUE):
                return kind, x, repr(x)
            if isinstance(x, _BY_IDENTITY):
                return Same(x)
        self._seen[id(x)] = len(self._seen), x
        if len(self._seen) > _MOST:
            raise Unkeyable
        return self._compound(x)

    def _compound(self, x: Any) -> Hashable:
        if isinstance(x, _SEQUENCES):
            return type(x), *map(self._key, x)
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, types.MethodType):
            return self._key(x.__func__), self._key(x.__self__)
        if isinstance(x, functools.partial):
            return self._key(x.func), self._key(x.args), self._key(x.keywords)
        if isinstance(x, dict):
            return type(x), tuple((self._key(k), self._key(v)) for k, v in x.items())
        if isinstance(x, np.ndarray | np.generic):
            if x.nbytes > _MOST_BYTES or x.dtype.hasobject:
                raise Unkeyable
            return x.shape, x.dtype, x.tobytes()
        leaves, tree = jax.tree.flatten(x)
        if not (len(leaves) == 1 and leaves[0] is x):
            return tree, tuple(map(self._key, leaves))
        if isinstance(x, _MADE_ONCE):
            return Same(x)
        if type(x).__hash__ not in (None, object.__hash__):
            return Same(x) if isinstance(x, jax.stages.Wrapped) else (type(x), x)
        if "__wrapped__" in getattr(x, "__dict__", ()):
            return Same(x), self._key(vars(x)["__wrapped__"])
        if hasattr(x, "__dict__"):
            return Same(x), self._key(vars(x))
        raise Unkeyable

    def _function(self, fun: types.FunctionType) -> Hashable:
        if fun.__module__ is not None and fun.__module__.partition(".")[0] in _LIBRARIES:
            if fun.__closure__ is None:
                return Same(fun)
            names: tuple[str, ...] = ()
        else:
            names = _global_names(fun.__code__)
        named = fun.__globals__
        return (
            *(Same(fun.__code__), self._key(fun.__defaults__), self._key(fun.__kwdefaults__)),
            tuple([self._key(_content(cell)) for cell in fun.__closure__ or ()]),
            tuple([self._key(named[name]) for name in names if name in named]),
        )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return None


@functools.cache
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names that the code, and functions defined in it, may look up among the globals."""
    inner = [_global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def modules_of(fun: Any) -> list[Module]:
    """The modules that a function reaches, as far as can be seen."""
    found = object.__new__(Capture)
    found.modules, found.has_arrays, found._seen = [], False, {}
    with contextlib.suppress(Unkeyable):
        found._key(fun)
    return found.modules
