"""Switches that decide how forgiving the package is, and warnings that are given once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from . import switches
from .switches import EPOCH, HERE


class _Switch:
    """One attribute of `Config`: its value for the process, under those of blocks."""

    def __init__(self, value: bool) -> None:
        self._for_all = value

    def __get__(self, config: Config | None, owner: type) -> bool:
        return HERE.get().values.get(self, self._for_all)

    def __set__(self, config: Config, value: bool) -> None:
        if not switches.change(self, value):
            self._for_all = value
            EPOCH.bump()


class Config:
    """How forgiving the package is.  Use the one instance, `spikexla.config`.

    strict: a missing `dt` and an overwritten State are errors, not warnings.
    check_trees: a State whose value changes its structure (its unit, its keys) is an error.
    strict_units: a plain number where a model expects a unit is an error, not a warning.
    cache_eager: loops, gradients and branches called outside `jit` are compiled once and kept.

    An attribute is set for the process; inside a `context` that has it, until the end of that.

    >>> with config.context(strict=True):
    ...     config.strict
    True
    """

    strict = _Switch(False)
    check_trees = _Switch(False)
    strict_units = _Switch(False)
    cache_eager = _Switch(True)

    def __setattr__(self, name: str, value: Any) -> None:
        _check(name, value)
        object.__setattr__(self, name, value)

    @contextlib.contextmanager
    def context(self, **settings: bool) -> Iterator[Config]:
        """Sets the given switches for the length of a `with` block, in its thread or task alone."""
        for name, value in settings.items():
            _check(name, value)
        with switches.Block({_SWITCHES[name]: value for name, value in settings.items()}):
            yield self

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={getattr(self, name)}' for name in _SWITCHES)})"


_SWITCHES = {name: x for name, x in vars(Config).items() if isinstance(x, _Switch)}


def _check(name: str, value: Any) -> None:
    if name not in _SWITCHES:
        raise AttributeError(
            f"config has no setting {name!r}; the settings are {', '.join(_SWITCHES)}"
        )
    if not isinstance(value, bool):
        raise TypeError(f"config.{name} is True or False, got {value!r}")


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
