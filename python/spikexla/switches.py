"""Where a switch holds: for the whole process, or in a `with` block of one context.

A context is what `contextvars` calls one: a thread; under asyncio a task, with the tasks and the
threads (`asyncio.to_thread`) that it starts.  A block's values lie over those of the process, in
its context alone.  Blocks may be left in any order, as exit stacks, generators and tasks do: each
takes away its own values and no other's.

Each switch keeps its value for the process itself; what lies over it is here.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

MISSING: Any = object()


class _Epoch:
    """A number that changes whenever something that compiled functions rely on may have changed.

    Compiled functions compare it first and look closer only when it moved.
    """

    __slots__ = ("_next", "value")

    def __init__(self) -> None:
        self._next = itertools.count(1)  # two threads never get the same number
        self.value = 0

    def bump(self) -> None:
        self.value = next(self._next)


EPOCH = _Epoch()


class Place:
    """The blocks around a point of a program, the innermost last, and what they choose together.

    serial: tells places apart.  What was found to hold in a place holds there until EPOCH moves.
    """

    __slots__ = ("around", "blocks", "serial", "values")

    _serials = itertools.count()

    def __init__(self, blocks: tuple[tuple[Any, Mapping], ...], around: Place | None) -> None:
        self.blocks, self.around = blocks, around
        self.values: dict[Hashable, Any] = {}
        for _, values in blocks:
            self.values.update(values)
        self.serial = next(self._serials)


OUTSIDE = Place((), None)
HERE: ContextVar[Place] = ContextVar("spikexla_place", default=OUTSIDE)
here = HERE.get


class Block(AbstractContextManager):
    """A `with` block in which `values` hold, in its context alone; it may be entered again."""

    def __init__(self, values: Mapping[Hashable, Any]) -> None:
        self._values = values

    def __enter__(self) -> Any:
        enter(self, self._values)

    def __exit__(self, *error: object) -> None:
        leave(self)


def enter(owner: Any, values: Mapping[Hashable, Any]) -> None:
    """Puts `values` over what holds here, until `leave(owner)`."""
    around = HERE.get()
    HERE.set(Place((*around.blocks, (owner, values)), around))


def leave(owner: Any) -> None:
    """Takes away what the last `enter(owner, ...)` of this context put; nothing in another one."""
    place = HERE.get()
    at = next((k for k, its in reversed([*enumerate(place.blocks)]) if its[0] is owner), None)
    if at is not None:
        _go((*place.blocks[:at], *place.blocks[at + 1 :]), place.around)


def change(key: Hashable, value: Any) -> bool:
    """Gives `key` another value until the end of the innermost block here that chose one.

    False where no block did: then it is for the process.
    """
    place = HERE.get()
    if key not in place.values:
        return False
    at = max(k for k, (_, values) in enumerate(place.blocks) if key in values)
    owner, values = place.blocks[at]
    changed = owner, {**values, key: value}
    HERE.set(Place((*place.blocks[:at], changed, *place.blocks[at + 1 :]), place.around))
    return True


def _go(blocks: tuple, around: Place | None) -> None:
    """Makes `blocks` those of this context: the place around, where that has the same ones."""
    known = around if blocks and around is not None else OUTSIDE
    same = len(known.blocks) == len(blocks)
    if same and all(a is b for a, b in zip(known.blocks, blocks, strict=True)):
        HERE.set(known)
    else:
        HERE.set(Place(blocks, None))


class ThreadNest(threading.local):
    """Managers of JAX's own switches that blocks of this thread have entered.

    JAX's switches belong to threads and must be left in turn.  So a manager whose block ends before
    a later one's is left with that: nothing stays behind, but while blocks of several tasks overlap
    the thread has the value of the last one.  `read` gives the value in force.
    """

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._open: list[tuple[Any, AbstractContextManager, list[bool]]] = []
        self._outside: Any = None  # the value before any of them

    def enter(self, owner: Any, manager: AbstractContextManager) -> None:
        if not self._open:
            self._outside = self._read()
        manager.__enter__()
        self._open.append((owner, manager, []))

    def leave(self, owner: Any) -> None:
        for its, _, ended in reversed(self._open):
            if its is owner and not ended:
                ended.append(True)
                break
        while self._open and self._open[-1][2]:
            self._open.pop()[1].__exit__(None, None, None)

    def disturbed(self, wanted: Any) -> bool:
        """Whether a block of another context keeps the thread from having the value `wanted`.

        None stands for the value that it has without any block.
        """
        if not self._open:
            return False
        owner = self._open[-1][0]
        if any(its is owner for its, _ in HERE.get().blocks):
            return False
        return self._read() != (self._outside if wanted is None else wanted)
