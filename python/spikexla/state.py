"""State: a named box for one value that functions may read and write, also while being traced.

A State holds raw arrays (`_raw`) and, when its value is more than one array, the tree that puts
them together (`_tree`: a Quantity's unit, the keys of a dict).  Compiled functions move raw arrays
only.

Every State remembers the trace that sees it (`_frame`).  One identity compare with the trace that
is active in this thread decides whether an access has to be reported to it; what a trace does with
the report is the business of `transform/trace.py`.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import jax

from . import atomic
from .active import ACTIVE as ACTIVE
from .active import LOST as LOST
from .active import TRACE_LOCK as TRACE_LOCK
from .active import TRACING
from .check import Check, Rule
from .config import config
from .switches import EPOCH as EPOCH
from .units import unit_lost, warn_unit_lost
from .value import LEAF as LEAF
from .value import (
    NOTHING,
    described,
    from_host,
    lead_of,
    leaf_types,
    refuse_objects,
    take_apart,
    to_host,
)
from .value import has_tracer as has_tracer

_PACKAGE = __name__.rpartition(".")[0]


class TraceError(RuntimeError):
    """A State met a trace that cannot see it."""


def rely_on(owner: Any, attribute: str) -> None:
    """Tells the active trace that it is valid for the present value of `owner.attribute` only.

    Whoever changes the attribute bumps EPOCH.
    """
    if ACTIVE.frame is not None:
        ACTIVE.frame.relied[id(owner), attribute] = owner


class State:
    """A value that persists across calls and may change: potentials, weights, counters, buffers.

    Read and write it through `value`.  A value is an array, a number, a quantity or a tree of them;
    its shape may change (a batch dimension comes and goes).  Subclasses may set any attribute.

    name: for messages; the first module that holds the State names it otherwise.
    tag: anything to find it by, see `filters.WithTag`.
    check: what new values must share with the first one: True, or some of 'tree', 'shape', 'dtype'.

    >>> count = State(jnp.zeros(3), name="count")
    >>> count.value = count.value.at[0].add(1.0)
    >>> count.value
    Array([1., 0., 0.], dtype=float32)

    Raises ValueError when a State is assigned or a check fails, TraceError when a traced value is
    written under a transform of `jax` itself, which cannot see States (use `spikexla.transform`).
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_frame",
        "_held",
        "_raw",
        "_rule",
        "_site",
        "_tree",
        "name",
        "tag",
    )

    def __init__(
        self, value: Any, name: str | None = None, *, tag: Any = None, check: Check = False
    ) -> None:
        self.name, self.tag = name, tag
        self._site, self._held = _creation_site(), False
        self._raw, self._tree = take_apart(value.value if isinstance(value, State) else value)
        self._rule = self._rule_of(check) if check else None
        self._frame = frame = ACTIVE.frame
        if frame is not None:
            frame.note_new(self)
        elif type(self._raw) not in leaf_types:
            self._refuse_strangers(value)

    @property
    def value(self) -> Any:
        """The current value."""
        if ACTIVE.frame is not self._frame:
            self = self._reach(reading=True)
        return self._raw if self._tree is LEAF else self._tree.unflatten(self._raw)

    @value.setter
    def value(self, value: Any) -> None:
        self._write(value)

    def _write(self, value: Any, *, starts: bool = False) -> None:
        """Assigns the value; `starts` marks a new start, which may do without a unit."""
        if isinstance(value, State):
            raise ValueError(
                f"{self.label} was assigned a State; assign its value: `a.value = b.value`"
            )
        frame = ACTIVE.frame
        if frame is not self._frame:
            self = self._reach()
        raw, tree = take_apart(value)
        if frame is not None:
            frame.note_write(self, raw)
        elif type(raw) not in leaf_types:
            self._refuse_strangers(value)
        if self._rule is not None:
            self._obey(raw, tree)
        if frame is None and ACTIVE.journal is not None:
            ACTIVE.journal.note(self)
        if tree is not self._tree and tree != self._tree:
            self._check_tree(tree, starts)
            atomic.store((self,), (raw,), (tree,))
        else:
            self._raw = raw

    def _rule_of(self, check: Check) -> Rule | None:
        return Rule.of(check, self._raw, self._tree, batched=False)

    def _obey(self, raw: Any, tree: Any) -> None:
        broken = self._rule.broken_by(raw, tree) if self._rule is not None else None
        if broken:
            raise ValueError(f"{self.label}: {broken}. Write such a value, or create it unchecked.")

    def _check_tree(self, tree: Any, starts: bool) -> None:
        if config.check_trees and self._tree is not NOTHING:
            raise ValueError(
                f"{self.label} holds {self._tree} and was given {tree}; its structure may not "
                "change while config.check_trees is on."
            )
        if not starts and self._tree is not LEAF:
            lost = unit_lost(self._tree, tree)
            if lost is not None:
                warn_unit_lost(self.label, lost)

    def _reach(self, reading: bool = False) -> State:
        """The State behind this one, seen by the active trace, whichever saw it last."""
        self = self.root()
        if self._frame is LOST:
            if reading:
                raise TraceError(
                    f"{self.label} has no value: it was created inside a traced function that "
                    "failed or is not `spikexla.transform.jit`, or its memory was given "
                    "(donate_states) to a call that failed. Create it before, or write it now."
                )
            self._frame = frame = ACTIVE.frame
            if frame is not None:
                frame.new.append(self)
        elif ACTIVE.frame is not None:
            if self._frame is not ACTIVE.frame:
                ACTIVE.frame.touch(self)
        elif self._frame is not None:
            with TRACE_LOCK:  # another thread is tracing with it; wait for it to put the value back
                pass
        return self

    def _refuse_strangers(self, value: Any) -> None:
        refuse_objects(value, self)
        if has_tracer(value):
            raise TraceError(
                f"{self.label} was given a traced value outside of any transform of spikexla: "
                "transforms of jax itself (jax.jit, jax.grad, jax.vmap, jax.lax.scan...) cannot "
                "carry States, use those of the same name in spikexla.transform; and a value kept "
                "from a function traced earlier is no number, return it or keep it in a State."
            )

    def adopt(self, other: State) -> None:
        """Takes over the value of `other`, which becomes a second name for this State.

        TraceError in a traced function for an `other` from outside: the end would undo it.
        """
        frame = ACTIVE.frame
        if frame is not None and not any(other is state for state in frame.new):
            raise TraceError(
                f"{other.label} was made outside of this traced function, and cannot become "
                f"another name of {self.label} in it. Give one State to both before, or write "
                "its value."
            )
        EPOCH.bump()
        self._rule = other._rule
        self._write(other.value, starts=True)
        if frame is not None:
            frame.new[:] = [state for state in frame.new if state is not other]
        other._frame = self

    def root(self) -> State:
        """The State that this is another name for; itself, but after `adopt`."""
        while isinstance(self._frame, State):
            self = self._frame
        return self

    @property
    def label(self) -> str:
        """How error messages call this State: its class, its name, where it was created."""
        name = f" {self.name!r}" if self.name else ""
        where = f" (created at {self._site[0]}:{self._site[1]})" if self._site else ""
        return f"{type(self).__name__}{name}{where}"

    def __repr__(self) -> str:
        if self._frame is LOST:
            return f"{type(self).__name__}(no value)"
        tag = "" if self.tag is None else f", tag={self.tag!r}"
        return f"{type(self).__name__}({described(self.value)}{tag})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        root = self.root()
        return super().__reduce_ex__(protocol) if root is self else (State.root, (root,))

    def __getstate__(self) -> dict[str, Any]:
        if has_tracer(self.value):
            raise TraceError(
                f"{self.label} was pickled inside a traced function, where its value is no number "
                "yet. Pickle it outside."
            )
        attributes = {"tag": self.tag, "rule": self._rule, "attributes": self.__dict__}
        return {"value": to_host(self.value), "name": self.name, **attributes}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.name, self.tag = saved["name"], saved["tag"]
        self.__dict__.update(saved["attributes"])
        self._site, self._held, self._frame = None, False, None
        self._rule = saved.get("rule")
        self._raw, self._tree = take_apart(from_host(saved["value"]))

    def __deepcopy__(self, memo: dict) -> State:
        if self.root() is not self:
            return copy.deepcopy(self.root(), memo)
        # Arrays are immutable, so a copy shares them; only the box and its attributes are new.
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        twin.name, twin.tag = self.name, self.tag
        twin._site, twin._held, twin._rule = self._site, False, self._rule
        twin._raw, twin._tree = take_apart(self.value)
        twin._frame = frame = ACTIVE.frame
        if frame is not None:
            frame.note_new(twin)
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


class _Kind(type):
    """Lets `isinstance(weight, LongTermState)` hold for parameters, which are long-lived too.

    The filter `module.states(LongTermState)` goes by the class hierarchy, where the kinds are
    disjoint; code written for brainstate asks `isinstance`, where parameters are long-term states.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        return cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        if cls.__dict__.get("_counts_parameters", False) and ParamState in subclass.__mro__:
            return True
        return cls in subclass.__mro__


class ParamState(State):
    """A learnable parameter: updated by optimisers, saved, kept across trials.

    >>> weight = ParamState(jnp.ones((2, 3)))
    """

    __slots__ = ()


class ShortTermState(State):
    """A temporary variable of the dynamics: reset at the start of each trial, not saved.

    Its value at construction is what the default `Module.reset_state` goes back to.

    >>> voltage = ShortTermState(jnp.full(100, -65.0))
    """

    __slots__ = ("_batched", "_start")

    def __init__(
        self, value: Any, name: str | None = None, *, tag: Any = None, check: Check = False
    ) -> None:
        super().__init__(value, name, tag=tag, check=check)
        # A list of its own: arrays in the State's list may be given away (donated).
        raw = self._raw if self._tree is LEAF else list(self._raw)
        self._start = None if has_tracer(raw) else (raw, self._tree)
        self._batched: tuple[tuple[int, ...], Any] = (), None

    def adopt(self, other: State) -> None:
        start = getattr(other, "_start", None)
        super().adopt(other)
        if start is not None:
            self._start, self._batched = start, ((), None)

    def reset(self, batch_size: int | tuple[int, ...] | None = None) -> None:
        """Goes back to the value at construction, repeated along leading batch dimensions."""
        if self._start is None:
            raise TraceError(
                f"{self.label} was created inside a traced function, so its first value is not "
                "known here. Give its module a `reset_state`, or create it before the trace."
            )
        rely_on(self, "_start")
        raw, tree = self._start
        if batch_size is not None:
            raw = self._repeated(lead_of(batch_size), raw)
        if self._frame is None and ACTIVE.frame is None and tree is self._tree:
            # Nothing to report and nothing new to check; a list of its own, see `__init__`.
            if ACTIVE.journal is not None:
                ACTIVE.journal.note(self)
            self._raw = raw if tree is LEAF else list(raw)
        else:
            self._write(raw if tree is LEAF else tree.unflatten(raw), starts=True)

    def _rule_of(self, check: Check) -> Rule | None:
        return Rule.of(check, self._raw, self._tree, batched=True)

    def _repeated(self, lead: tuple[int, ...], raw: Any) -> Any:
        """The start with batch dimensions. Arrays do not change, so trials can share one."""
        if self._batched[0] != lead or self._batched[1] is None:
            wide = jax.tree.map(
                lambda x: jax.numpy.broadcast_to(x, (*lead, *jax.numpy.shape(x))), raw
            )
            if has_tracer(wide):
                return wide
            self._batched = lead, wide
        return self._batched[1]

    def __getstate__(self) -> dict[str, Any]:
        start = None
        if self._start is not None:
            raw, tree = self._start
            start = to_host(raw if tree is LEAF else tree.unflatten(raw))
        return {**super().__getstate__(), "start": start}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        super().__setstate__(saved)
        start = saved["start"]
        self._start = None if start is None else take_apart(from_host(start))
        self._batched = (), None

    def __deepcopy__(self, memo: dict) -> State:
        twin: Any = super().__deepcopy__(memo)
        twin._start, twin._batched = self._start, ((), None)
        return twin


class LongTermState(State, metaclass=_Kind):
    """A persistent variable that is not trained: statistics, counters, homeostatic variables.

    >>> spikes_seen = LongTermState(0)
    >>> spikes_seen.value += 1
    """

    __slots__ = ()
    _counts_parameters = True


atomic.bind(State, ACTIVE, EPOCH, TRACING, TRACE_LOCK, LOST)


def is_kind(state: State, kind: type, *, exact: bool = True) -> bool:
    """Whether `state` is of this kind; with `exact=False`, as `isinstance` sees it."""
    return kind in type(state).__mro__ if exact else isinstance(state, kind)


def _creation_site() -> tuple[str, int] | None:
    """File and line of the first caller outside of this package."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != _PACKAGE and not name.startswith(_PACKAGE + "."):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None
