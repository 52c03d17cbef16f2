"""Which implementation the ops run: `'xla'` (pure JAX, the definition) or `'native'` (kernels)."""

from __future__ import annotations

import os
from typing import Any

import jax

from . import switches
from .switches import EPOCH, HERE, ThreadNest

CHOICES = ("xla", "native")
BACKEND = "backend", "name"  # the key of this switch in blocks


def _checked(name: Any, source: str) -> str:
    if name not in CHOICES:
        raise ValueError(f"unknown backend {name!r} from {source}; choose one of {CHOICES}")
    return name


_for_all = os.environ.get("SPIKEXLA_BACKEND") or "native"  # checked where it is used
# JAX keeps one program for each value of this, so `jax.jit` around an op sees the backend too.
_seen_by_jax = jax.make_user_context(_for_all)
_nest = ThreadNest(lambda: _seen_by_jax.value)


def current() -> str:
    """The name of the backend that ops take when they are not told otherwise."""
    for owner, _ in HERE.get().blocks:
        if type(owner) is _Said:
            owner.settle()
    return _checked(HERE.get().values.get(BACKEND, _for_all), "SPIKEXLA_BACKEND")


def resolve(name: str | None) -> str:
    """The backend a call with `backend=name` takes: `name`, or the current one for None."""
    return current() if name is None else _checked(name, "backend=")


def _switch(name: str) -> None:
    """Chooses for the process; inside a block that chose, until the end of that."""
    global _for_all
    if switches.change(BACKEND, name):
        _seen_by_jax(name).__enter__()  # the block's own manager takes it back
    elif name != _for_all:
        _for_all = name
        _seen_by_jax.set_global(name)
        EPOCH.bump()


def _enter(owner: Any, name: str) -> None:
    switches.enter(owner, {BACKEND: name})
    _nest.enter(owner, _seen_by_jax(name))


def _leave(owner: Any) -> None:
    _nest.leave(owner)
    switches.leave(owner)


class Within:
    """A `with` block of one backend; it may be entered again, in other contexts too."""

    def __init__(self, name: str) -> None:
        self._name = _checked(name, "spikexla.backend()")

    def __enter__(self) -> str:
        _enter(self, self._name)
        return self._name

    def __exit__(self, *error: object) -> None:
        _leave(self)


class _Said:
    """A name that was said, and may yet turn out to be the head of a `with`.

    Until that is known it holds in this context alone: no other may see what a block chooses.
    """

    def __init__(self, name: str) -> None:
        self._name, self._open = name, True
        _enter(self, name)

    def take_back(self) -> bool:
        """Ends its effect; False if that was done before."""
        was_open, self._open = self._open, False
        if was_open:
            _leave(self)
        return was_open

    def settle(self) -> None:
        """It was no `with`: the name is for the process."""
        if self.take_back():
            _switch(self._name)
        else:
            switches.leave(self)  # said in this context, and taken back in another one


class _Setting(Within):
    """What `spikexla.backend(name)` gives: in effect at once, undone at the end of a `with`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._said = _Said(name)

    def __enter__(self) -> str:
        self._said.take_back()
        return super().__enter__()

    def __del__(self) -> None:
        said = vars(self).get("_said")  # absent where the name was refused
        if said is not None:
            said.settle()


class Backend:
    """`spikexla.backend`: call it to choose the implementation of the ops.

    >>> backend("xla")                       # for the process, from now on  # doctest: +SKIP
    >>> with backend("native"):              # inside the block only         # doctest: +SKIP
    ...     net(x)

    A block holds in its thread, and under asyncio in its task, alone.  The variable
    `SPIKEXLA_BACKEND` chooses at start-up.  Compiled functions see the switch, those of `jax.jit`
    too: each keeps one program per backend.
    """

    def __call__(self, name: str) -> _Setting:
        return _Setting(name)

    current = staticmethod(current)
    resolve = staticmethod(resolve)

    def __repr__(self) -> str:
        return f"<spikexla.backend: {current()!r} of {CHOICES}>"


backend = Backend()
