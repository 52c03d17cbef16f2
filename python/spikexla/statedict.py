"""Paths and dictionaries of states: keys that read as `'layer1.W'` and behave as tuples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax


class PathKey(tuple):
    """Where a state lives: a tuple of attribute names that also equals its dotted spelling.

    >>> key = PathKey(("layer1", "W"))
    >>> key == "layer1.W", key == ("layer1", "W"), f"{key}", key[-1]
    (True, True, 'layer1.W', 'W')

    The hash is the tuple's, so a set or a plain dict of keys is looked up with tuples; a
    `StateDict` takes either spelling.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return str(self) == other if isinstance(other, str) else tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __getattr__(self, name: str) -> Any:
        # A key is used as a name in reports and checkpoints: key.startswith("layer1").
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(str(self), name)

    def __getnewargs__(self) -> tuple[tuple]:
        return (tuple(self),)


class StateDict(dict):
    """States, or one value for each of them, by path.

    Every method that takes a key takes `'layer1.W'` and `('layer1', 'W')` alike.  It is a pytree
    whose leaves are the values; the order of insertion is kept.

    >>> found = StateDict({("layer1", "W"): 1.0})
    >>> found["layer1.W"], "layer1.W" in found, list(found)
    (1.0, True, ['layer1.W'])
    """

    __slots__ = ()

    def __init__(self, items: Any = (), /, **named: Any) -> None:
        super().__init__()
        self.update(items, **named)

    def _key(self, key: Any) -> PathKey:
        """The stored key that `key` spells; integers in a path match their digits."""
        if not isinstance(key, str):
            return key if isinstance(key, PathKey) else PathKey(key)
        path = PathKey(key.split("."))
        if dict.__contains__(self, path):
            return path
        return next((stored for stored in self if str(stored) == key), path)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | tuple) and dict.__contains__(self, self._key(key))

    def __getitem__(self, key: Any) -> Any:
        if key not in self:
            names = ", ".join(str(stored) for stored in self) or "nothing"
            raise KeyError(f"no state at {key!r}; this StateDict holds {names}")
        return dict.__getitem__(self, self._key(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        dict.__setitem__(self, self._key(key), value)

    def __delitem__(self, key: Any) -> None:
        dict.__delitem__(self, self._key(key))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StateDict) and isinstance(other, dict):
            return all(isinstance(key, str | tuple) for key in other) and self == StateDict(other)
        return dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def get(self, key: Any, default: Any = None) -> Any:
        return dict.get(self, self._key(key), default)

    def pop(self, key: Any, *default: Any) -> Any:
        return dict.pop(self, self._key(key), *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return dict.setdefault(self, self._key(key), default)

    def update(self, items: Any = (), /, **named: Any) -> None:
        pairs = items.items() if hasattr(items, "items") else items
        for key, value in (*pairs, *named.items()):
            self[key] = value

    def copy(self) -> StateDict:
        return StateDict(self)

    def __or__(self, other: Any) -> StateDict:
        merged = self.copy()
        merged.update(other)
        return merged

    def __ior__(self, other: Any) -> StateDict:
        self.update(other)
        return self

    def __reduce__(self) -> tuple:
        return (StateDict, (), None, None, iter(list(self.items())))

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {value!r}" for key, value in self.items()) + "}"


def _flatten_with_keys(found: StateDict) -> tuple[Iterable, tuple]:
    return [(jax.tree_util.DictKey(key), found[key]) for key in found], tuple(found)


def _flatten(found: StateDict) -> tuple[Iterator, tuple]:
    return iter(found.values()), tuple(found)


def _unflatten(keys: tuple, values: Iterable) -> StateDict:
    return StateDict(zip(keys, values, strict=True))


jax.tree_util.register_pytree_with_keys(StateDict, _flatten_with_keys, _unflatten, _flatten)
