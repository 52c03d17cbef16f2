"""Switches that decide how forgiving the package is, and warnings that are given once."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass
class Config:
    """How forgiving the package is.  Use the one instance, `spikexla.config`.

    strict: a missing `dt` and an overwritten State are errors, not warnings.
    check_trees: a State whose value changes its structure (its unit, its keys) is an error.
    strict_units: a plain number where a model expects a unit is an error, not a warning.
    cache_eager: loops, gradients and branches called outside `jit` are compiled once and kept.

    >>> with config.context(strict=True):
    ...     config.strict
    True
    """

    strict: bool = False
    check_trees: bool = False
    strict_units: bool = False
    cache_eager: bool = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise AttributeError(
                f"config has no setting {name!r}; the settings are {', '.join(_NAMES)}"
            )
        if not isinstance(value, bool):
            raise TypeError(f"config.{name} is True or False, got {value!r}")
        object.__setattr__(self, name, value)

    @contextlib.contextmanager
    def context(self, **settings: bool) -> Iterator[Config]:
        """Sets the given switches for the length of a `with` block."""
        before = {name: getattr(self, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)


_NAMES = tuple(field.name for field in dataclasses.fields(Config))
config = Config()


def check_state_value_tree(val: bool = True) -> contextlib.AbstractContextManager:
    """In its `with` block the value of a State may not change its structure; see `config`.

    >>> with check_state_value_tree():
    ...     ParamState(1.0).value = 2.0
    """
    return config.context(check_trees=val)


_said: set[str] = set()


def warn_once(
    key: str, message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 3
) -> None:
    """Warns the first time `key` is seen in this process."""
    if key not in _said:
        _said.add(key)
        warnings.warn(message, category, stacklevel=stacklevel)


def forget_warnings() -> None:
    """Lets every warning of `warn_once` be given again."""
    _said.clear()
