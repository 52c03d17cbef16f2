"""Filters for `module.states(...)` and `nodes(...)`, by their names in brainstate.util.filter.

A filter may be a class, a tag (a string), a function of (path, object), True or `...` for
everything, False or None for nothing, or a list of filters of which one must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any as _Anything

from .state import is_kind

Predicate = Callable[[tuple, _Anything], bool]


def to_predicate(filter: _Anything, *, exact: bool = True) -> Predicate:
    """The function of (path, object) that a filter stands for.

    A State class means the class and its subclasses; the three kinds are disjoint. `exact=False`
    goes by `isinstance`, for which a parameter is a long-term state, as in brainstate.

    >>> to_predicate("frozen")(("W",), ParamState(1.0, tag="frozen"))
    True
    """
    if isinstance(filter, type):
        return OfType(filter, exact=exact)
    if isinstance(filter, str):
        return WithTag(filter)
    if isinstance(filter, bool) or filter is None or filter is ...:
        return Everything() if filter else Nothing()
    if isinstance(filter, list | tuple):
        return Any(*filter)
    if callable(filter):
        return lambda path, x: bool(filter(path, x))
    raise TypeError(
        "filter by a class, a tag (a string), a function of (path, object), True, False, or a list "
        f"of these; got {filter!r}"
    )


def OfType(kind: type, *, exact: bool = True) -> Predicate:
    """Objects of a class or of its subclasses; see `to_predicate` for `exact`."""
    return lambda path, x: is_kind(x, kind, exact=exact)


def WithTag(tag: str) -> Predicate:
    """States whose tag is `tag`, or is a set, list or tuple with it."""

    def tagged(path: tuple, x: _Anything) -> bool:
        found = getattr(x, "tag", None)
        return tag in found if isinstance(found, set | frozenset | list | tuple) else found == tag

    return tagged


def PathContains(part: _Anything) -> Predicate:
    """Objects with `part` (an attribute's name, an index) somewhere in their path."""
    return lambda path, x: part in tuple(path)


def Any(*filters: _Anything) -> Predicate:
    """Objects for which one of the filters holds."""
    tests = [to_predicate(filter) for filter in filters]
    return lambda path, x: any(test(path, x) for test in tests)


def All(*filters: _Anything) -> Predicate:
    """Objects for which all filters hold."""
    tests = [to_predicate(filter) for filter in filters]
    return lambda path, x: all(test(path, x) for test in tests)


def Not(filter: _Anything) -> Predicate:
    """Objects for which the filter does not hold."""
    test = to_predicate(filter)
    return lambda path, x: not test(path, x)


def Everything() -> Predicate:
    """All objects."""
    return lambda path, x: True


def Nothing() -> Predicate:
    """No object."""
    return lambda path, x: False
