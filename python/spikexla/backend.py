"""Which implementation the ops run: `'xla'` (pure JAX, the definition) or `'native'` (kernels)."""

from __future__ import annotations

import os
from typing import Any

from .state import EPOCH

CHOICES = ("xla", "native")


def _checked(name: Any, source: str) -> str:
    if name not in CHOICES:
        raise ValueError(f"unknown backend {name!r} from {source}; choose one of {CHOICES}")
    return name


_current = os.environ.get("SPIKEXLA_BACKEND") or "native"  # checked where it is used


def current() -> str:
    """The name of the backend that ops take when they are not told otherwise."""
    return _checked(_current, "SPIKEXLA_BACKEND")


def resolve(name: str | None) -> str:
    """The backend a call with `backend=name` takes: `name`, or the current one for None."""
    return current() if name is None else _checked(name, "backend=")


def _switch(name: str) -> None:
    global _current
    if name != _current:
        _current = name
        EPOCH.bump()


class _Setting:
    """What `spikexla.backend(name)` gives: in effect at once, undone at the end of a `with`."""

    def __init__(self, name: str) -> None:
        self._name = _checked(name, "spikexla.backend()")
        self._before = _current
        _switch(name)

    def __enter__(self) -> str:
        _switch(self._name)
        return self._name

    def __exit__(self, *error: object) -> None:
        _switch(self._before)


class Backend:
    """`spikexla.backend`: call it to choose the implementation of the ops.

    >>> backend("xla")                       # from now on            # doctest: +SKIP
    >>> with backend("native"):              # inside the block only  # doctest: +SKIP
    ...     net(x)

    The variable `SPIKEXLA_BACKEND` chooses at start-up.  Compiled functions see the switch: each
    keeps one program per backend.
    """

    def __call__(self, name: str) -> _Setting:
        return _Setting(name)

    current = staticmethod(current)
    resolve = staticmethod(resolve)

    def __repr__(self) -> str:
        return f"<spikexla.backend: {_current!r} of {CHOICES}>"


backend = Backend()
