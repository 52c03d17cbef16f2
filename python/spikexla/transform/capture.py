"""What a function reaches, written down, so that a later call can tell whether all is as it was.

A program is valid for what its function could read when it was traced: closures, defaults, the
globals and attributes that its code names, and all that is in them.  Numbers, strings, numpy
arrays and containers count by content, with a private copy; States and jax arrays, whose values
are inputs or never change, by identity; Modules and other objects by identity and content.  What
can die is held weakly, and a description dies with it.
"""

from __future__ import annotations

import array
import collections
import functools
import random
import types
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..module import NOT_SAVED, Module
from ..state import State
from . import matching
from .matching import (
    ALL,
    ARRAY,
    ASKED,
    CLASS,
    DICT,
    FUNCTION,
    GUARDED,
    IS,
    ITEMS,
    MODULE,
    NAMED,
    SEEN,
    VALUE,
    WEAK,
    attribute,
    content,
    is_absent,
    of_class,
)
from .names import (
    HIDDEN,
    NO_DATA,
    Imported,
    is_library,
    is_library_name,
    named_in,
    own_names,
    root_of,
    slots_of,
)
from .static import Constant
from .trace import HOLE, Frame, has_ended

_MOST = 1_000_000  # things written down before giving up
_VALUES = frozenset((bool, int, float, complex, str, bytes, type(None), type(...), range, slice))
_VALUES |= {jax.tree_util.PyTreeDef, np.dtype, type(NotImplemented)}
_DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    types.CodeType,
)
_UNWATCHED = (*sorted(NOT_SAVED), "_version")
_OF_STATES = ("tag", "__dict__")
_PARTS = {  # attributes that are all there is to objects of these types
    types.MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    Constant: ("value",),
}
match = matching.fastest()


class Snapshot:
    """What `root` reaches, as it is now.

    opaque: what was met whose changes cannot be noticed; such a snapshot never holds.
    """

    __slots__ = (
        "__weakref__",
        "alive",
        "bound",
        "has_arrays",
        "nbytes",
        "node",
        "opaque",
        "seen",
    )

    def __init__(self, root: Any) -> None:
        self.alive = True  # if nothing that it describes is gone or unknown
        writer = _Writer(self)
        self.opaque: list[str] = writer.opaque
        try:
            self.node = writer.node(root)
        except RecursionError:
            self.opaque.append("containers in each other's depth beyond Python's limit")
        self.alive = self.alive and not self.opaque
        self.seen = frozenset(writer.slots)
        self.has_arrays, self.nbytes = writer.has_arrays, writer.nbytes
        self.bound = array.array("Q", writer.slots)  # addresses, in the order of slots

    def holds(self, root: Any, full: bool = True) -> bool:
        """Whether `root` reaches the same now.

        full: false if `EPOCH` has not moved since this was asked in full, for then the settings
        of Modules are the same.
        """
        return self.alive and match(self.node, root, self.bound, full)

    def holds_but_for_counts(self, root: Any) -> bool:
        """Whether nothing but numbers that are attributes of classes differs."""
        slots = [0] * len(self.bound)
        return self.alive and matching.matches(self.node, root, slots, matching.BUT_COUNTS)


class _Writer:
    """Writes descriptions; each thing once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.slots: dict[int, int] = {}  # by id
        self.opaque: list[str] = []
        self.has_arrays, self.nbytes = False, 0
        self._held: list[Any] = []  # so that no id is used twice
        self._watched: dict[int, set[str]] = {}  # names of globals, by the slot of these
        self._names: frozenset[str] = frozenset()  # attributes that the present function names
        mine = weakref.ref(snapshot)

        def died(_: Any) -> None:
            snapshot = mine()
            if snapshot is not None:
                snapshot.alive = False

        self._died = died

    def node(self, x: Any) -> tuple:
        kind = type(x)
        if kind in _VALUES:
            return VALUE, -1, x
        if kind is types.ModuleType:
            return self._python_module(x)
        slot = self.slots.get(id(x))
        if slot is not None:
            return SEEN, slot
        slot = self.slots[id(x)] = len(self.slots)
        self._held.append(x)
        if slot > _MOST:
            return self._unknown(x, f"more than {_MOST:,} things")
        return self._first(x, kind, slot)

    def _first(self, x: Any, kind: type, slot: int) -> tuple:
        """The description of a thing that was not met before."""
        if isinstance(x, State):
            node = GUARDED, slot, self._weak(x), self._state(x)
            plain = not x.__dict__ and x.tag is None
            of = () if plain else (self._attributes(x, type(x), -1, None, _OF_STATES),)
            return (ALL, -1, (node, *of)) if of else node
        if isinstance(x, Module):
            return self._module(x, kind, slot)
        if isinstance(x, jax.Array):
            return self._array(x, slot)
        if isinstance(x, types.FunctionType):
            return self._function(x, slot)
        if isinstance(x, tuple | list | dict) and not isinstance(x, collections.OrderedDict):
            return self._container(x, kind, slot)
        if isinstance(x, np.ndarray | np.generic):
            return self._numpy(x, kind, slot)
        if isinstance(x, type):
            return self._class(x, slot)
        if kind in _PARTS:
            return self._attributes(x, kind, slot, None, _PARTS[kind])
        probe = next((ask for of, ask in _PROBES if isinstance(x, of)), None)
        if probe is not None:
            asked = ASKED, -1, probe, self.node(probe(x))
            return ALL, slot, ((NAMED, -1, kind, None, (), ()), asked)
        return self._other(x, kind, slot)

    def _container(self, x: Any, kind: type, slot: int) -> tuple:
        if isinstance(x, dict):
            pairs = [(self.node(key), self.node(value)) for key, value in list(dict.items(x))]
            node = DICT, slot, kind, *_columns(pairs)
        else:
            items = list.__iter__(x) if isinstance(x, list) else tuple.__iter__(x)
            node = ITEMS, slot, kind, tuple(map(self.node, [*items]))
        if kind.__module__ == "builtins" or not getattr(x, "__dict__", None):
            return node
        return ALL, -1, (node, self._attributes(x, kind, -1, None, ("__dict__",)))

    def _other(self, x: Any, kind: type, slot: int) -> tuple:
        """Objects of all other types."""
        if isinstance(x, types.BuiltinFunctionType):
            owner = x.__self__
            if owner is None or isinstance(owner, types.ModuleType | type):
                return IS, slot, x
            return self._attributes(x, kind, slot, None, ("__name__", "__self__"))
        if x is HOLE or kind is object or isinstance(x, _DESCRIPTORS):
            return IS, slot, x
        if kind is Frame:
            return NAMED, slot, kind, None, (), ()
        if root_of(kind) in NO_DATA:
            return self._same(x, slot)
        if root_of(kind) in HIDDEN:
            return self._unknown(x)
        if "__wrapped__" in getattr(x, "__dict__", ()):  # compiled, or remembers what it answered
            return self._attributes(x, kind, slot, self._weak(x), ("__wrapped__",))
        known = is_library(kind)
        if known and kind.__hash__ not in (None, object.__hash__):
            return VALUE, slot, x
        if known:
            leaves, tree = jax.tree.flatten(x)
            if not (len(leaves) == 1 and leaves[0] is x):
                return ASKED, slot, _flat, self.node((tree, leaves))
        names = slots_of(kind)
        if hasattr(x, "__dict__"):
            names = ("__dict__", *names)
        elif not names:
            return self._same(x, slot) if known and not hasattr(x, "__next__") else self._unknown(x)
        # Equal things with an equality of their own are the same; others have an identity.
        own = kind.__eq__ is object.__eq__
        found = self._attributes(x, kind, slot, self._weak(x) if own else None, names)
        return (
            found if known else (ALL, -1, (found, (NAMED, -1, kind, None, *self._of_class(kind))))
        )

    def _of_class(self, kind: type) -> tuple:
        return ("__class__",), (self.node(kind),)

    def _attributes(self, x: Any, kind: type, slot: int, ref: Any, names: tuple) -> tuple:
        found = [attribute(x, name) for name in names]
        nodes = tuple(None if is_absent(f) else self.node(f) for f in found)
        return NAMED, slot, kind, ref, names, nodes

    def _unknown(self, x: Any, why: str = "") -> tuple:
        self.opaque.append(why or f"an object of type {type(x).__module__}.{type(x).__qualname__}")
        return VALUE, -1, None

    def _same(self, x: Any, slot: int) -> tuple:
        ref = self._weak(x)
        return (IS, slot, x) if ref is None else (WEAK, slot, ref)

    def _weak(self, x: Any) -> Any:
        try:
            return weakref.ref(x, self._died)
        except TypeError:
            return None

    # -- values -------------------------------------------------------------------------------

    def _array(self, x: jax.Array, slot: int) -> tuple:
        if isinstance(x, Tracer) and has_ended(x):
            return ASKED, slot, has_ended, (VALUE, -1, True)  # no value that a trace could read
        self.has_arrays = True
        return self._same(x, slot)

    def _numpy(self, x: Any, kind: type, slot: int) -> tuple:
        if x.dtype.hasobject:
            return ASKED, slot, _objects, self.node(_objects(x))
        self.nbytes += x.nbytes
        return ARRAY, slot, kind, x.dtype, x.shape, x.tobytes()

    def _state(self, x: State) -> tuple:
        """What there is to a State beside its value: whose second name it is, its attributes."""
        root = x.root()
        parts: list[tuple] = [(ASKED, -1, State.root, (WEAK, -1, self._weak(root)))]
        if not x.__dict__ and x.tag is None:  # else they are looked at in every call
            parts.append(self._attributes(x, type(x), -1, None, _OF_STATES))
        if not is_library(type(x)):
            parts.append((NAMED, -1, type(x), None, *self._of_class(type(x))))
        return ALL, -1, tuple(parts)

    def _module(self, x: Module, kind: type, slot: int) -> tuple:
        found = {name: v for name, v in vars(x).items() if name not in _UNWATCHED}
        of_class = self.node(kind)  # in the order in which they are compared
        nodes = [(name, self.node(value)) for name, value in found.items()]
        told = kind.SETTLED
        changing = [(n, node) for n, node in nodes if n not in told and _may_change(node)]
        watched, unnoticed = _columns(nodes), _columns(changing)
        return MODULE, slot, kind, self._weak(x), _UNWATCHED, watched, unnoticed, of_class

    # -- code ---------------------------------------------------------------------------------

    def _function(self, x: types.FunctionType, slot: int) -> tuple:
        known = is_library(x)
        names, attributes, imported = ((), frozenset(), ()) if known else named_in(x.__code__)
        outer, self._names = self._names, attributes
        cells = [content(cell) for cell in x.__closure__ or ()]
        place = self.slots.setdefault(id(x.__globals__), len(self.slots))
        self._held.append(x.__globals__)
        watched = self._watched.get(place)
        known = watched is not None
        watched = self._watched.setdefault(place, set())
        names = tuple(name for name in names if name not in watched)
        watched.update(names)
        named = [x.__globals__.get(name, _MISSING) for name in names]
        node = (
            *(FUNCTION, slot, x.__code__),
            *(self.node(x.__defaults__), self.node(x.__kwdefaults__)),
            tuple(None if is_absent(c) else self.node(c) for c in cells),
            names,
            tuple(None if found is _MISSING else self.node(found) for found in named),
            *(place, known),
        )
        extra = [(ASKED, -1, find, self.node(find(x))) for find in map(Imported, imported)]
        if set(vars(x)) - {"__wrapped__"}:
            extra.append(self._attributes(x, type(x), -1, None, ("__dict__",)))
        self._names = outer
        return (ALL, -1, (node, *extra)) if extra else node

    def _python_module(self, x: types.ModuleType) -> tuple:
        """Of a module, the attributes that the present function names."""
        if is_library_name(x.__name__):
            return IS, -1, x
        names = tuple(name for name in sorted(self._names) if name in vars(x))
        return self._attributes(x, type(x), -1, self._weak(x), names)

    def _class(self, x: type, slot: int) -> tuple:
        """A class and what it inherits, but for the classes of libraries."""
        if is_library(x):
            return IS, slot, x
        ref = self._weak(x)
        kept = own_names(x)
        outer, self._names = self._names, frozenset()
        nodes = tuple(self.node(of_class(x, name)) for name in kept)
        self._names = outer
        changing = [(n, node) for n, node in zip(kept, nodes, strict=True) if _may_change(node)]
        version = self.slots[id(ref)] = len(self.slots)  # a slot for its number
        sizes = ASKED, -1, _sizes, self.node(_sizes(x))
        return CLASS, slot, ref, version, (kept, nodes), _columns(changing), sizes


_MISSING = object()


def _columns(rows: list[tuple[Any, tuple]]) -> tuple[tuple, tuple]:
    return tuple(name for name, _ in rows), tuple(node for _, node in rows)


def _may_change(node: tuple | None) -> bool:
    """Whether what a Module or class holds can change without its knowing."""
    if node is None:
        return False
    kind = node[0]
    if kind == ITEMS:
        return not issubclass(node[2], tuple) or any(map(_may_change, node[3]))
    if kind == ARRAY:
        return issubclass(node[2], np.ndarray)
    if kind == FUNCTION:
        return bool(node[5] or node[7]) or any(map(_may_change, node[3:5]))
    if kind == MODULE:
        return bool(node[6][0]) or _may_change(node[7])
    if kind == CLASS:
        return True
    if kind == GUARDED:
        return False
    if kind == ASKED:
        return node[2] is not _flat or _may_change(node[3])
    return kind in (DICT, NAMED, ALL)


def _flat(x: Any) -> tuple:
    leaves, tree = jax.tree.flatten(x)
    return tree, leaves


def _objects(x: np.ndarray) -> list:
    return [type(x), x.dtype, x.shape, *np.ravel(x).tolist()]


def _sizes(x: type) -> tuple:
    return tuple(len(vars(c)) for c in x.__mro__ if not is_library(c))


_PROBES: list[tuple[Any, Callable]] = [
    (set | frozenset | collections.deque, list),
    (collections.OrderedDict, lambda x: list(x.items())),
    (bytearray | memoryview, bytes),
    (array.array, lambda x: (x.typecode, x.tobytes())),
    (types.MappingProxyType, dict),
    (weakref.ref, lambda x: x()),
    (np.random.Generator, lambda x: x.bit_generator.state),
    (np.random.BitGenerator, lambda x: x.state),
    (np.random.RandomState, lambda x: x.get_state(legacy=False)),
    (random.Random, lambda x: x.getstate()),
    (types.CellType, lambda x: (content(x),)),
]
