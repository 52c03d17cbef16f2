"""Many States read, stored or put back in one moment: no interrupt and no thread comes between.

CPython raises KeyboardInterrupt and switches threads between bytecodes only, so each of these is
one call of the compiled library (`csrc/states_module.cc`).  Where that is missing, Python does the
same with a bytecode boundary between any two States: an interrupt or another thread may then find
some of them old and some new, and an interrupt may leave a trace half ended.

- `store(states, raws, trees)`: values, and trees where they are not None, as the active trace sees
  the States; outside of traces also to those that had none.
- `call(run, written, kept, fresh, trees, args, kwargs)`: `run` on the values of States, and what it
  leaves stored; NotImplemented, and nothing done, if a trace has one of them.
- `FrameScope`: base of a trace in progress, which begins and ends with it.
- `Transaction`: what happens within is undone by an exception that leaves it; within another one
  it is part of that, or with `keep=True` is done for good, with all that came before.  Whoever
  writes a State past `store` says so before: `ACTIVE.journal.note(state)`.
"""

from __future__ import annotations

import importlib
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]


class _Bound:
    """What state.py lends."""

    state: Any = None
    active: Any = None
    epoch: Any = None
    tracing: Any = None
    lock: Any = None
    lost: Any = None


def _bind(state: Any, active: Any, epoch: Any, tracing: Any, lock: Any, lost: Any) -> None:
    for name, lent in dict(locals()).items():
        setattr(_Bound, name, lent)


def _settled(states: Any) -> bool:
    return all(state._frame is None or state._frame is _Bound.lost for state in states)


def _store(states: Any, raws: Any, trees: Any) -> None:
    states, raws = list(states), list(raws)
    trees = [None] * len(states) if trees is None else list(trees)
    frame = _Bound.active.frame
    if frame is None and not _settled(states):
        with _Bound.lock:
            return _store(states, raws, trees)
    if frame is None and _Bound.active.journal is not None:
        for state in states:
            _Bound.active.journal.note(state)
    for state, raw, tree in zip(states, raws, trees, strict=True):
        state._raw = raw
        if tree is not None and tree is not state._tree:
            state._tree = tree
            _Bound.epoch.bump()
        if state._frame is _Bound.lost:
            state._frame = frame
    return None


def _call(
    run: Any, written: Any, kept: Any, fresh: Any, trees: Any, args: tuple, kwargs: dict
) -> Any:
    if any(state._frame is not None for state in (*written, *kept)):
        return NotImplemented
    given = [state._raw for state in written], [state._raw for state in kept]
    out, after, new = run(*given, *args, **kwargs)
    _store([*written, *(fresh if new else ())], [*after, *new], trees)
    return out


def _put_back(entries: Any) -> None:
    for state, raw, tree, frame in entries:
        if tree is not state._tree:
            _Bound.epoch.bump()
        state._raw, state._tree, state._frame = raw, tree, frame


class _FrameScope:
    def __enter__(self: Any) -> Any:
        _Bound.lock.acquire()
        _Bound.tracing.depth += 1
        self.parent, _Bound.active.frame = _Bound.active.frame, self
        return self

    def __exit__(self: Any, *error: object) -> None:
        _Bound.active.frame = self.parent
        if self.parent is not None:
            self.parent.relied.update(self.relied)
        _put_back(self.saved)
        for state in self.new:
            if not isinstance(state._frame, _Bound.state):
                state._frame = _Bound.lost
        _Bound.tracing.depth -= 1
        _Bound.lock.release()


class _Transaction:
    def __init__(self, keep: bool = False) -> None:
        self.keep, self._entered, self._outer, self._before = keep, False, None, {}

    def note(self, state: Any) -> None:
        state = state._box() if hasattr(state, "_box") else state  # what is chosen here and now
        self._before.setdefault(id(state), (state, state._raw, state._tree, state._frame))

    def __enter__(self) -> None:
        active = _Bound.active
        if active.frame is None and (active.journal is None or self.keep):
            self._entered, self._outer, active.journal = True, active.journal, self

    def __exit__(self, kind: Any, *error: object) -> None:
        if not self._entered:
            return
        _Bound.active.journal = self._outer
        if kind is not None:
            with _Bound.lock:
                _put_back(self._before.values())
        elif self._outer is not None:
            self._outer._before.clear()


try:
    _library: Any = importlib.import_module(f"{_PACKAGE}._native")
    bind, store, call = _library.bind, _library.store, _library.call
    FrameScope, Transaction = _library.FrameScope, _library.Transaction
except (ImportError, AttributeError):  # not built, or built from older sources
    bind, store, call = _bind, _store, _call
    FrameScope, Transaction = _FrameScope, _Transaction
