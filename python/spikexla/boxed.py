"""Boxed: a State whose value belongs to the place where it is read."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from .state import ACTIVE, State
from .switches import HERE
from .value import leaf_types, take_apart


class Box:
    """One value of a Boxed State, in the three attributes that a State keeps its own in.

    So a transaction may put back a box, whatever place it belongs to.
    """

    __slots__ = ("_frame", "_raw", "_tree")

    def __init__(self, raw: Any, tree: Any, frame: Any = None) -> None:
        self._raw, self._tree, self._frame = raw, tree, frame


class Boxed(State):
    """A State with a value for the process, and one in each block that holds a box for `key`.

    Compiled functions read and write the value of the place where they are called.
    """

    __slots__ = ("_base", "_key")

    def __init__(self, name: str, key: Hashable, base: Box) -> None:
        self.name, self.tag, self._site, self._held, self._rule = name, None, None, True, None
        self._key, self._base = key, base

    def _box(self) -> Box:
        found = HERE.get().values.get(self._key)
        return found if type(found) is Box else self._base

    _raw = property(lambda s: s._box()._raw, lambda s, x: setattr(s._box(), "_raw", x))
    _tree = property(lambda s: s._box()._tree, lambda s, x: setattr(s._box(), "_tree", x))
    _frame = property(lambda s: s._box()._frame, lambda s, x: setattr(s._box(), "_frame", x))

    def box(self, value: Any) -> Box:
        """A box with `value` for a block that is entered now."""
        raw, tree = take_apart(value)
        frame = ACTIVE.frame
        if frame is not None:
            frame.refuse_foreign(self, raw, "written")
        elif type(raw) not in leaf_types:
            self._refuse_strangers(value)
        return Box(raw, tree, frame)
