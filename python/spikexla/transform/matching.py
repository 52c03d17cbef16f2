"""Whether things are as a description says, the definition; `csrc/kept_module.cc` spells it fast.

A description is a tree of tuples `(kind, slot, ...)`, made by `capture.py`.  A slot is the number
of a thing that may be met again, -1 of one that is not.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any

# (IS, slot, thing): this very thing.  (WEAK, slot, reference): the one it refers to.
# (VALUE, slot, value): of the same type and equal, to the bit.
# (ITEMS, slot, type, nodes): a list or tuple.
# (DICT, slot, type, nodes of keys, nodes of values): in this order.
# (ARRAY, slot, type, dtype, shape, bytes): of numpy.
# (FUNCTION, slot, code, defaults, keyword defaults, nodes of cells, names, nodes, slot, known):
#     with globals, the names of which that another function watches too are left out (known).
# (NAMED, slot, type, reference or None, names, nodes): attributes.
# (MODULE, slot, type, reference, unwatched, (names, nodes), (names, nodes), class): all of its
#     attributes, and those of them that can change without its knowing.
# (SEEN, slot): what was found in that slot.  (ASKED, slot, function, node): what it answers.
# (GUARDED, slot, reference, node): the node is looked at in full comparisons only.
# (ALL, slot, nodes): each of them is right.
# (CLASS, slot, reference, slot of its version, (names, nodes), (names, nodes), node): all of its
#     attributes; those whose content may change; what is compared beside the former.
IS, WEAK, VALUE, ITEMS, DICT, ARRAY, FUNCTION, NAMED, MODULE, SEEN, ASKED = range(11)
GUARDED, ALL, CLASS = range(11, 14)

BUT_COUNTS = "all but the numbers of classes"  # a full comparison of `matches`
_ABSENT = object()


def matches(node: tuple, thing: Any, bound: Any, full: bool | str) -> bool:
    """Whether `thing` is as `node` says.

    bound: for each slot, the address of what was found there, written and read.
    full: look at the settings of Modules too, whose changes move `EPOCH`.
    """
    kind, slot = node[:2]
    if kind == SEEN:
        return bound[slot] == id(thing)
    if slot >= 0:
        bound[slot] = id(thing)
    if kind == FUNCTION and isinstance(thing, types.FunctionType):
        known, bound[node[8]] = bound[node[8]], id(thing.__globals__)
        if node[9] and known != bound[node[8]]:
            return False
    return _WAYS[kind](node, thing, lambda node, thing: matches(node, thing, bound, full), full)


def _is(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return node[2] is x


def _weak(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return node[2]() is x


def _value(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    value = node[2]
    if value is x:
        return True
    if type(value) is not type(x):
        return False
    if isinstance(x, float | complex):
        return repr(value) == repr(x)
    try:
        return bool(value == x)
    except Exception:
        return False


def _items(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return type(x) is node[2] and len(x) == len(node[3]) and all(map(match, node[3], x))


def _dict(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return (
        type(x) is node[2]
        and len(x) == len(node[3])
        and all(
            match(key_node, key) and match(node_, value)
            for key_node, node_, (key, value) in zip(*node[3:], list(x.items()), strict=True)
        )
    )


def _array(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return (
        type(x) is node[2]
        and (x.dtype, x.shape) == node[3:5]
        and memoryview(x.tobytes()) == memoryview(node[5])
    )


def _function(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return (
        isinstance(x, types.FunctionType)
        and x.__code__ is node[2]
        and match(node[3], x.__defaults__)
        and match(node[4], x.__kwdefaults__)
        and all(_optional(match, n, content(c)) for n, c in _pairs(node[5], x.__closure__ or ()))
        and _looked_up(match, node[6], node[7], x.__globals__)
    )


def _named(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    if type(x) is not node[2] or (node[3] is not None and node[3]() is not x):
        return False
    return all(_optional(match, n, attribute(x, name)) for name, n in _pairs(node[4], node[5]))


def _module(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    if type(x) is not node[2] or node[3]() is not x or not match(node[7], type(x)):
        return False
    if not full:
        return _looked_up(match, node[6][0], node[6][1], x.__dict__)
    watched = len(x.__dict__) - sum(name in x.__dict__ for name in node[4])
    return watched == len(node[5][0]) and _looked_up(match, node[5][0], node[5][1], x.__dict__)


def _asked(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    try:
        answer = node[2](x)
    except Exception:
        return False
    return match(node[3], answer)


def _guarded(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return node[2]() is x and (not full or match(node[3], x))


def _all(node: tuple, x: Any, match: Callable, full: bool) -> bool:
    return all(match(part, x) for part in node[2])


def _class(node: tuple, x: Any, match: Callable, full: bool | str) -> bool:
    if node[2]() is not x or not match(node[6], x):
        return False
    names, nodes = node[4]
    if full == BUT_COUNTS:
        names = [name for name, n in _pairs(*node[4]) if n is None or n[0] != VALUE]
        nodes = [n for n in nodes if n is None or n[0] != VALUE]
    return all(_optional(match, n, of_class(x, name)) for name, n in _pairs(names, nodes))


_WAYS: list[Any] = [_is, _weak, _value, _items, _dict, _array, _function, _named, _module]
_WAYS += [None, _asked, _guarded, _all, _class]  # SEEN is read off the slots


def content(cell: Any) -> Any:
    """What a cell of a closure holds; `_ABSENT` before it is assigned."""
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def attribute(x: Any, name: str) -> Any:
    """The attribute; `_ABSENT` where there is none."""
    try:
        return getattr(x, name)
    except Exception:
        return _ABSENT


def of_class(x: type, name: str) -> Any:
    """What the class or a base has by this name, as it was written there."""
    return next((vars(c)[name] for c in x.__mro__ if name in vars(c)), _ABSENT)


def is_absent(x: Any) -> bool:
    """Whether `content` or `attribute` found nothing."""
    return x is _ABSENT


def _optional(match: Callable, node: tuple | None, x: Any) -> bool:
    return x is _ABSENT if node is None else x is not _ABSENT and match(node, x)


def _looked_up(match: Callable, names: tuple, nodes: tuple, found: dict) -> bool:
    return all(_optional(match, n, found.get(name, _ABSENT)) for name, n in _pairs(names, nodes))


def _pairs(names: Any, nodes: Any) -> Any:
    return zip(names, nodes, strict=True)


def fastest() -> Callable[[tuple, Any, Any, bool], bool]:
    """`matches` of the compiled module, or, where that is missing, the one above."""
    try:
        return importlib.import_module("spikexla._native").matches
    except (ImportError, AttributeError):
        return matches
