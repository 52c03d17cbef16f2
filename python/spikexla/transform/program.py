"""One compiled way through a function: the States it reads and writes, and the code for them."""

from __future__ import annotations

from typing import Any

import jax

from .. import environ
from ..active import EPOCH, TRACE_LOCK
from ..backend import current as current_backend
from ..module import Module
from ..switches import HERE
from .capture import Same, modules_of
from .static import Constant, StaticArguments
from .storing import keep_copies, may_donate, when_finished
from .trace import HOLE, Traced, is_plain, join, split


class Miss(Exception):
    """These inputs need another program; `traced` is what they led to, where that is known."""

    def __init__(self, traced: Traced | None = None) -> None:
        self.traced = traced


def settings_now() -> tuple:
    """What a program is compiled for, beside its arguments and states."""
    return current_backend(), environ.settings_key()


def kind_of(statics: list, tree: Any) -> tuple | None:
    """What tells calls apart before their shapes do; None for arguments that are data alone."""
    if is_plain(statics):
        return None  # jax.jit itself tells their structures apart
    return tree, tuple(s if isinstance(s, Constant | str) else Same(s) for s in statics)


class Program:
    """One way through a function: which states it reads and writes, and the compiled code.

    Inputs of other shapes share it as long as the states are the same ones.
    """

    def __init__(
        self,
        static: StaticArguments,
        traced: Traced,
        settings: tuple,
        donated: tuple[bool, frozenset, frozenset],
        options: dict,
    ) -> None:
        self.pending: Traced | None = None  # what the next run is to compile
        self.settings = settings
        self.written = traced.written
        written = {id(state) for state in traced.written}
        self.kept = [state for state in traced.states if id(state) not in written]
        self.written_trees = traced.written_trees
        self.trees_before = [state._tree for state in (*self.written, *self.kept)]
        # The fast way writes arrays only, so it is for programs that leave units and keys alone.
        self.steady = self.trees_before[: len(self.written)] == self.written_trees
        self.new, self.new_trees = traced.new, traced.new_trees
        self.kind = kind_of(traced.statics, traced.tree)
        self.out_tree, self.out_statics = traced.out_tree, traced.out_statics
        self.plain_out = is_plain(self.out_statics)
        self.seen: tuple[int, int] | None = None  # EPOCH and place where it was found valid
        self._static, self._tree, self._statics = static, traced.tree, traced.statics
        self._relied: list[tuple[Any, str, Any]] = []  # (owner, attribute, value) of each
        self._signatures: set = set()
        self._rely(traced)
        self.changed_trees = [None] * len(self.written) + self.new_trees if self.new else None
        states, *arguments = donated
        self.donates = states and may_donate(traced)
        self.whole_out = self.plain_out and not self.donates  # the result as the function gave it
        donations = self._donations(self.donates, *arguments)
        self.run = jax.jit(self._body, **donations, **options)
        if traced.jaxpr.effects:
            self.run = when_finished(self.run)

    def _donations(self, states: bool, positions: frozenset, names: frozenset) -> dict[str, Any]:
        """What to donate, as `jax.jit` counts the arguments of `_body`."""
        first = (0,) if states else ()
        if self.kind is None:
            nums = (*first, *(2 + k for k in positions))
            return {"donate_argnums": nums, "donate_argnames": tuple(names)}
        args, kwargs = self._tree.unflatten(range(self._tree.num_leaves))
        given = [x for k, x in enumerate(args) if k in positions]
        leaves = {*jax.tree.leaves((given, [x for k, x in kwargs.items() if k in names]))}
        data = [k for k, static in enumerate(self._statics) if static is HOLE]
        return {"donate_argnums": (*first, *(2 + n for n, k in enumerate(data) if k in leaves))}

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
            raws = dict(zip(map(id, (*self.written, *self.kept)), (*written, *kept), strict=True))
            traced, self.pending = self.pending, None
            if traced is None:
                traced = self._trace_again(raws, args, kwargs)
            self._signatures.add(_signature(args, kwargs, list(raws.values())))
            leaves = jax.tree.leaves((args, kwargs))
            out, written, new = traced.call(leaves, [raws[id(state)] for state in traced.states])
            return (traced.result(out) if self.whole_out else out), written, new
        finally:
            TRACE_LOCK.release()

    def _trace_again(self, raws: dict[int, Any], args: tuple, kwargs: dict) -> Traced:
        if self.kind is not None:
            args, kwargs = join(self._tree, self._statics, args)
        traced = Traced(
            self._static.call, args, kwargs, view=lambda state: raws.get(id(state), state._raw)
        )
        if not self.take(traced):
            raise Miss(traced)
        return traced

    def follow(self) -> None:
        """Goes on with the States that those it was traced with have become another name for."""
        self.written = [state.root() for state in self.written]
        self.kept = [state.root() for state in self.kept]

    def take(self, traced: Traced) -> bool:
        """Whether a trace with other shapes may share this program; if so it does from now on."""
        if not (
            {id(s) for s in traced.states} == {id(s) for s in (*self.written, *self.kept)}
            and [*map(id, traced.written)] == [*map(id, self.written)]
            and not traced.new
            and not self.new
            and traced.written_trees == self.written_trees
            and self.plain_out
            and is_plain(traced.out_statics)
            and (self.whole_out or traced.out_tree == self.out_tree)
        ):
            return False
        self._rely(traced)
        return True

    def knows(self, args: tuple, kwargs: dict) -> bool:
        """Whether it was compiled for arguments and states of these shapes."""
        raws = [state._raw for state in (*self.written, *self.kept)]
        return _signature(args, kwargs, raws) in self._signatures

    def data_of(self, args: tuple, kwargs: dict) -> tuple | None:
        """The data among arguments that have the structure and settings of this program."""
        data, statics, tree = split((args, kwargs))
        return tuple(data) if kind_of(statics, tree) == self.kind else None

    # -- conditions ---------------------------------------------------------------------------

    @property
    def relied(self) -> list[tuple[Any, str]]:
        """The attributes outside of the arguments that it is valid for one value of."""
        return [(owner, name) for owner, name, _ in self._relied]

    def valid(self, settings: tuple) -> bool:
        """Whether everything outside of the arguments is as it was when this was traced."""
        return (
            settings == self.settings
            and all(getattr(owner, name) == value for owner, name, value in self._relied)
            and all(
                state._tree is tree or state._tree == tree
                for state, tree in zip((*self.written, *self.kept), self.trees_before, strict=True)
            )
        )

    def validate(self) -> bool:
        """Whether it is valid in this place now, and, if so, until EPOCH moves."""
        epoch = EPOCH.value  # before looking: what moves it meanwhile must not be missed
        if not self.valid(settings_now()):
            return False
        self.seen = epoch, HERE.get().serial  # the settings and data of the environ
        return True

    def may_return(self) -> bool:
        """Whether, if not valid, it may become so: settings of modules never go back."""
        return all(
            getattr(owner, name) == value
            for owner, name, value in self._relied
            if isinstance(owner, Module)
        )

    def _rely(self, traced: Traced) -> None:
        """Adds what a trace relied on: settings of modules within its reach, presence of data."""
        owners = dict(traced.relied)
        reached = [owner for owner in owners.values() if isinstance(owner, Module)]
        reached += [leaf for leaf in traced.statics if isinstance(leaf, Module)]
        for module in (*reached, *modules_of(self._static.fun)):
            for node in module.nodes().values():
                owners[id(node), "_version"] = owners[id(node), "_contents"] = node
        known = {(id(owner), name) for owner, name, _ in self._relied}
        self._relied += [
            (owner, name, getattr(owner, name))
            for (key, name), owner in owners.items()
            if (key, name) not in known
        ]


def _signature(args: tuple, kwargs: dict, raws: list) -> tuple:
    leaves, tree = jax.tree.flatten((args, kwargs, raws))
    return tree, tuple(map(jax.typeof, leaves))
