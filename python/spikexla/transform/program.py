"""One compiled way through a function: the States it reads and writes, and the code for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import environ
from ..active import EPOCH, TRACE_LOCK
from ..backend import current as current_backend
from ..module import Module
from ..state import State
from ..switches import HERE
from .capture import Snapshot, match
from .lifted import Different, Lifted
from .storing import keep_copies, may_donate, when_finished
from .trace import HOLE, Traced, is_plain, join, split


class Miss(Exception):
    """These inputs need another program; `traced` is what they led to, where that is known."""

    def __init__(self, traced: Traced | None = None) -> None:
        self.traced = traced


def settings_now() -> tuple:
    """What a program is compiled for, beside its arguments and states."""
    return current_backend(), environ.settings_key()


def kind_of(statics: list, tree: Any) -> Any:
    """What tells calls apart before their shapes do; None for arguments that are data alone."""
    return None if is_plain(statics) else tree  # jax.jit itself tells structures of data apart


class Program:
    """One way through a function: which states it reads and writes, and the compiled code.

    Inputs of other shapes share it as long as the states are the same ones.  It holds no State and
    no Module: when one of them is gone, no call can mean it any more.

    snapshots: what the function reached when it was traced, and what its static arguments did.
    lifted: code that takes the constants of the trace as arguments.
    """

    def __init__(
        self,
        traced: Traced,
        settings: tuple,
        snapshots: tuple[Snapshot, Snapshot | None],
        donated: tuple[bool, frozenset, frozenset],
        options: dict,
        lifted: Lifted | None = None,
    ) -> None:
        self.lent: tuple[Callable, list | None] | None = None  # function and statics of this run
        self.settings, (self.snapshot, self.static) = settings, snapshots
        written = {id(state) for state in traced.written}
        kept = [state for state in traced.states if id(state) not in written]
        self._written, self.weakly_kept = _weak(traced.written), _weak(kept)
        self.written_trees = traced.written_trees
        self.trees_before = [state._tree for state in (*traced.written, *kept)]
        # The fast way writes arrays only, so it is for programs that leave units and keys alone.
        same = self.trees_before[: len(written)] == self.written_trees
        self.steady = same and not traced.new
        self._new, self.new_trees = _weak(traced.new), traced.new_trees
        self.kind = kind_of(traced.statics, traced.tree)
        self.out_tree = traced.out_tree
        self.plain_out = is_plain(traced.out_statics)
        self._out_statics = list(map(_Held, traced.out_statics))
        self.seen: tuple[int, int] | None = None  # EPOCH and place where it was found valid
        self._tree = traced.tree
        self._relied: list[tuple[weakref.ref, str, Any]] = []  # (owner, attribute, value) of each
        self._reached: list[tuple[weakref.ref, Snapshot]] = []  # modules met beside the snapshot's
        self._signatures: set = set()
        self._rely(traced)
        self._pending: Traced | None = None
        self.borrows = True  # whether it has to be lent its function at each run
        self.retraced = False  # since its snapshot was taken
        self.lifted = lifted
        states, positions, names = donated
        # What runs Python after the compiled code, or makes States, gives no memory away.
        self.donates = states and self.steady and lifted is None and may_donate(traced)
        self.whole_out = self.plain_out and not self.donates  # the result as the function gave it
        if lifted is None:
            self._constants: list[Any] = []
            given = donations(traced, self.donates, positions, names)
            self.run = jax.jit(self._body, **given, **options)
        else:
            self._constants = [
                _Held(x, isinstance(x, jax.Array) and self._saw(id(x))) for x in traced.constants
            ]
            self.run = self._run_lifted
        if traced.jaxpr.effects:
            self.run = when_finished(self.run)

    @property
    def pending(self) -> Traced | None:
        """What the next run is to compile."""
        return self._pending

    @pending.setter
    def pending(self, traced: Traced | None) -> None:
        self._pending = traced
        if self.lifted is not None:
            self.lifted.pending = traced

    def _run_lifted(self, written: list, kept: list, *args: Any, **kwargs: Any) -> tuple:
        assert self.lifted is not None
        constants = [constant() for constant in self._constants]
        try:
            return self.lifted.run(written, kept, constants, *args, **kwargs)
        except Different:
            raise Miss from None

    def _body(self, written: list, kept: list, *args: Any, **kwargs: Any) -> tuple:
        """Runs only when jax.jit has no code for these shapes yet.

        An exception in here makes jax.jit give up its fast way for these shapes, for good.  So
        other shapes are traced here and now, and only those of another program are refused.
        """
        # The thread that holds the lock may be waiting for this code, so this must not wait for it.
        if not TRACE_LOCK.acquire(blocking=False):
            raise Miss
        try:
            if self.donates:
                keep_copies(self.written)
            states = *self.written, *self.kept
            raws = dict(zip(map(id, states), (*written, *kept), strict=True))
            traced, self._pending = self._pending, None
            if traced is None:
                traced = self._trace_again(raws, args, kwargs)
            self._signatures.add(_signature(args, kwargs, list(raws.values())))
            leaves = jax.tree.leaves((args, kwargs))
            out, written, new = traced.call(leaves, [raws[id(state)] for state in traced.states])
            return (traced.result(out) if self.whole_out else out), written, new
        finally:
            TRACE_LOCK.release()

    def _trace_again(self, raws: dict[int, Any], args: tuple, kwargs: dict) -> Traced:
        if self.lent is None:
            raise Miss
        call, statics = self.lent
        if self.kind is not None:
            args, kwargs = join(self._tree, statics or (), args)
        traced = Traced(call, args, kwargs, view=lambda s: raws.get(id(s), s._raw))
        if not self.take(traced):
            raise Miss(traced)
        return traced

    def take(self, traced: Traced) -> bool:
        """Whether a trace with other shapes may share this program; if so it does from now on."""
        if not (
            self.lifted is None
            and {id(s) for s in traced.states} == {id(s) for s in (*self.written, *self.kept)}
            and [*map(id, traced.written)] == [*map(id, self.written)]
            and not traced.new
            and not self._new
            and traced.written_trees == self.written_trees
            and self.plain_out
            and is_plain(traced.out_statics)
            and (self.whole_out or traced.out_tree == self.out_tree)
        ):
            return False
        self._rely(traced)
        self.retraced = True
        return True

    def knows(self, args: tuple, kwargs: dict) -> bool:
        """Whether it was compiled for arguments and states of these shapes."""
        return self._signature(args, kwargs) in self._signatures

    def compiled_for(self, args: tuple, kwargs: dict) -> None:
        """Notes that there is code for arguments and states of these shapes."""
        self._signatures.add(self._signature(args, kwargs))

    def _signature(self, args: tuple, kwargs: dict) -> tuple:
        return _signature(args, kwargs, [s._raw for s in (*self.written, *self.kept)])

    def data_of(self, args: tuple, kwargs: dict) -> tuple[tuple | None, list]:
        """(data, other leaves) of arguments; None for the data if they have another structure."""
        data, statics, tree = split((args, kwargs))
        return (tuple(data) if kind_of(statics, tree) == self.kind else None), statics

    # -- what it holds weakly -----------------------------------------------------------------

    @property
    def written(self) -> list[State]:
        """The states that it writes."""
        return [ref() for ref in self._written]  # pyright: ignore[reportReturnType]

    @property
    def kept(self) -> list[State]:
        """The states that it only reads."""
        return [ref() for ref in self.weakly_kept]  # pyright: ignore[reportReturnType]

    @property
    def alive(self) -> bool:
        """Whether a call can still mean it."""
        seen = self.snapshot.alive and (self.static is None or self.static.alive)
        return seen and all(ref() is not None for ref in self._written + self.weakly_kept)

    @property
    def held(self) -> list[tuple[int, State, Any]]:
        """The states that it creates and somebody holds: place, State, tree."""
        all_new = [(ref(), tree) for ref, tree in zip(self._new, self.new_trees, strict=True)]
        return [(k, state, tree) for k, (state, tree) in enumerate(all_new) if state is not None]

    def follow(self) -> None:
        """Goes on with the States that those it was traced with have become another name for."""
        self._written = _weak([state.root() for state in self.written])
        self.weakly_kept = _weak([state.root() for state in self.kept])

    @property
    def out_statics(self) -> list[Any]:
        """The leaves of the result that are no data."""
        return [held() for held in self._out_statics]

    # -- conditions ---------------------------------------------------------------------------

    @property
    def relied(self) -> list[tuple[Any, str]]:
        """The attributes outside of the arguments that it is valid for one value of."""
        return [(owner(), name) for owner, name, _ in self._relied]

    def valid(self, settings: tuple) -> bool:
        """Whether the settings, and all that it relied on, are as when this was traced."""
        return (
            settings == self.settings
            and self.alive
            and all(_same(getattr(owner(), name), value) for owner, name, value in self._relied)
            and all(
                state._tree is tree or state._tree == tree
                for state, tree in zip((*self.written, *self.kept), self.trees_before, strict=True)
            )
        )

    def holds(self, root: Any, statics: list | None) -> bool:
        """Whether a call of `root` in this place now means this program."""
        here = EPOCH.value, HERE.get().serial  # the settings and data of the environ
        if self.seen == here:  # nobody touched the settings of a Module
            if self._simple:
                snapshot = self.snapshot  # `holds`, spelled out
                return snapshot.alive and match(snapshot.node, root, snapshot.bound, False)
            return self._reaches(root, statics, False)
        if not self.valid(settings_now()) or not self._reaches(root, statics, True):
            return False
        self.seen = here
        return True

    def _reaches(self, root: Any, statics: list | None, full: bool) -> bool:
        return (
            self.snapshot.holds(root, full)
            and (self.static is None or self.static.holds(tuple(statics or ()), full))
            and all(snapshot.holds(module(), full) for module, snapshot in self._reached)
        )

    def is_like(self, other: Program) -> bool:
        """Whether calls that mean `other` may mean this one too, if their shapes are others."""
        return self.snapshot is other.snapshot and self.static is other.static

    def _saw(self, key: int) -> bool:
        return key in self.snapshot.seen or (self.static is not None and key in self.static.seen)

    def _rely(self, traced: Traced) -> None:
        """Adds what a trace relied on: data that is there, modules that nothing named leads to."""
        known = {(id(owner()), name) for owner, name, _ in self._relied}
        reached = {id(module()) for module, _ in self._reached}
        for (key, name), owner in traced.relied.items():
            if not isinstance(owner, Module):
                if (key, name) not in known:
                    self._relied.append((weakref.ref(owner), name, getattr(owner, name)))
            elif not self._saw(key) and key not in reached:
                reached.add(key)
                self._reached.append((weakref.ref(owner), Snapshot(owner)))
        self._simple = self.static is None and not self._reached


def donations(
    traced: Traced, states: bool, positions: frozenset, names: frozenset, before: int = 2
) -> dict[str, Any]:
    """What to donate, as `jax.jit` counts arguments that have `before` others in front."""
    first = (0,) if states else ()
    if kind_of(traced.statics, traced.tree) is None:
        nums = (*first, *(before + k for k in positions))
        return {"donate_argnums": nums, "donate_argnames": tuple(names)}
    args, kwargs = traced.tree.unflatten(range(traced.tree.num_leaves))
    given = [x for k, x in enumerate(args) if k in positions]
    leaves = {*jax.tree.leaves((given, [x for k, x in kwargs.items() if k in names]))}
    data = [k for k, static in enumerate(traced.statics) if static is HOLE]
    return {"donate_argnums": (*first, *(before + n for n, k in enumerate(data) if k in leaves))}


class _Held:
    """A constant of a trace; what others hold, weakly."""

    __slots__ = ("_it", "_weak")

    def __init__(self, it: Any, weak: bool = False) -> None:
        self._weak = weak or isinstance(it, Module | State)
        self._it: Any = weakref.ref(it) if self._weak else it

    def __call__(self) -> Any:
        return self._it() if self._weak else self._it


def _weak(states: Sequence[State]) -> list[weakref.ref[State]]:
    return [weakref.ref(state) for state in states]


def _same(now: Any, then: Any) -> bool:
    return now is then or (isinstance(then, bool | int) and now == then)


def _signature(args: tuple, kwargs: dict, raws: list) -> tuple:
    leaves, tree = jax.tree.flatten((args, kwargs, raws))
    return tree, tuple(map(jax.typeof, leaves))
