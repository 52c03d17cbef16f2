"""`jit`: compiles a function together with the States it reads and writes.

`jax.jit` keeps the programs and picks one; this file only moves raw arrays between it and the
States.  A call whose program is known costs a list of the states' arrays and a few comparisons.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from .. import environ
from ..backend import current as current_backend
from ..module import Module
from ..state import ACTIVE, EPOCH, LEAF, TRACE_LOCK, State, rely_on
from . import trace
from .capture import Same, modules_of
from .static import Constant, StaticArguments, chosen_arguments
from .trace import TRACING, Traced, commit, fill, is_dynamic, join, read, split

_MOST_PROGRAMS = 256


class _Miss(Exception):
    """jax.jit met shapes that this program was not traced for."""


def _settings() -> tuple:
    return current_backend(), environ.settings_key()


class Program:
    """One way through a function: which states it reads and writes, and the compiled code.

    Inputs of other shapes share it as long as the states are the same ones.
    """

    def __init__(
        self, fun: Callable, traced: Traced, settings: tuple, donated: tuple, options: dict
    ) -> None:
        self.pending: Traced | None = None
        self.settings = settings
        self.written = traced.written
        written = {id(state) for state in traced.written}
        self.kept = [state for state in traced.states if id(state) not in written]
        self.written_trees = traced.written_trees
        self.trees_before = [state._tree for state in (*self.written, *self.kept)]
        # The fast way writes arrays only, so it is for programs that leave units and keys alone.
        self.steady = self.trees_before[: len(self.written)] == self.written_trees
        self.new, self.new_trees = traced.new, traced.new_trees
        self.tree, self._statics = traced.tree, traced.statics
        self.static_key = _static_key(traced.statics)
        self.plain = all(leaf is trace.HOLE for leaf in traced.statics)
        self.out_tree, self.out_statics = traced.out_tree, traced.out_statics
        self.plain_out = all(leaf is trace.HOLE for leaf in traced.out_statics)
        self.relied = _conditions(fun, traced)  # (owner, attribute, value) of each
        self.signatures: set = set()
        self.epoch = -1
        self.run = jax.jit(self._body, **self._donations(*donated), **options)

    def _donations(self, states: bool, positions: frozenset, names: frozenset) -> dict[str, Any]:
        """What to donate, as `jax.jit` counts the arguments of `_body`."""
        first = (0,) if states else ()
        if self.plain:
            nums = (*first, *(2 + k for k in positions))
            return {"donate_argnums": nums, "donate_argnames": tuple(names)}
        args, kwargs = self.tree.unflatten(range(self.tree.num_leaves))
        given = [x for k, x in enumerate(args) if k in positions]
        leaves = {*jax.tree.leaves((given, [x for k, x in kwargs.items() if k in names]))}
        data = [k for k, static in enumerate(self._statics) if static is trace.HOLE]
        return {"donate_argnums": (*first, *(2 + n for n, k in enumerate(data) if k in leaves))}

    def _body(self, written: list, kept: list, *args: Any, **kwargs: Any) -> tuple:
        """Runs only when jax.jit has no code for these shapes yet."""
        traced, self.pending = self.pending, None
        if traced is None:
            raise _Miss
        raws = dict(zip(map(id, (*self.written, *self.kept)), (*written, *kept), strict=True))
        leaves = jax.tree.leaves((args, kwargs))
        out, written, new = traced.call(leaves, [raws[id(state)] for state in traced.states])
        return (traced.result(out) if self.plain_out else out), written, new

    def same_as(self, traced: Traced) -> bool:
        """Whether a trace with other shapes may share this program."""
        states = {id(s) for s in traced.states} == {id(s) for s in (*self.written, *self.kept)}
        return (
            states
            and [*map(id, traced.written)] == [*map(id, self.written)]
            and not traced.new
            and not self.new
            and traced.written_trees == self.written_trees
            and _static_key(traced.statics) == self.static_key
            and (self.plain or traced.tree == self.tree)
            and self.plain_out
            and all(leaf is trace.HOLE for leaf in traced.out_statics)
        )

    def data_of(self, args: tuple, kwargs: dict) -> tuple | None:
        """The data among arguments that have the structure and settings of this program."""
        data, statics, tree = split((args, kwargs))
        same = tree == self.tree and _static_key(statics) == self.static_key
        return tuple(data) if same else None

    def valid(self, settings: tuple) -> bool:
        """Whether everything outside of the arguments is as it was when this was traced."""
        return (
            settings == self.settings
            and all(getattr(owner, name) == value for owner, name, value in self.relied)
            and all(
                state._tree is tree or state._tree == tree
                for state, tree in zip((*self.written, *self.kept), self.trees_before, strict=True)
            )
        )


def _conditions(fun: Callable, traced: Traced) -> list[tuple[Any, str, Any]]:
    """What the trace relied on: settings of the modules within its reach, presence of data."""
    owners = dict(traced.relied)
    reached = [owner for owner in owners.values() if isinstance(owner, Module)]
    reached += [leaf for leaf in traced.statics if isinstance(leaf, Module)]
    for module in (*reached, *modules_of(fun)):
        for node in module.nodes().values():
            owners[id(node), "_version"] = node
    return [(owner, name, getattr(owner, name)) for (_, name), owner in owners.items()]


class JittedFunction:
    """What `jit` returns.  Call it as the function; `clear_cache()` forgets its programs."""

    def __init__(
        self,
        fun: Callable,
        *,
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Iterable[str] = (),
        donate_argnums: int | Sequence[int] | None = (),
        donate_argnames: str | Iterable[str] | None = (),
        donate_states: bool = False,
        **options: Any,
    ) -> None:
        functools.update_wrapper(self, fun, updated=())
        self.fun = fun
        self.donate_states = donate_states
        self._static = StaticArguments(fun, static_argnums, static_argnames)
        for name in ("in_shardings", "out_shardings"):
            if options.pop(name, None) is not None:
                raise TypeError(
                    f"jit takes no {name}, for it adds States to what goes in and out; place the "
                    "arrays with jax.device_put, or constrain them inside the function"
                )
        chosen = chosen_arguments(fun, donate_argnums, donate_argnames, "donate_argnames")
        self._donated, self._options = (donate_states, *chosen), options
        self._programs: dict[Any, list[Program]] = {}
        self._last: Program | None = None

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def clear_cache(self) -> None:
        """Forgets every program; the next call traces again."""
        self._programs.clear()
        self._last = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program = self._last
        if program is None:
            return self._dispatch(args, kwargs)
        if not program.plain:
            return self._call_with_settings(program, args, kwargs)
        return self._call(program, args, kwargs, args, kwargs)

    def _call_with_settings(self, program: Program, args: tuple, kwargs: dict) -> Any:
        data = program.data_of(*self._static.mark(args, kwargs))
        if data is None:
            return self._dispatch(args, kwargs)
        return self._call(program, data, {}, args, kwargs)

    def _call(self, program: Program, data: tuple, named: dict, args: tuple, kwargs: dict) -> Any:
        """The fast way, for a program that fitted last time; `args` and `kwargs` if it does not."""
        if (
            (program.epoch != EPOCH.value and not self._revalidated(program))
            or TRACING.depth
            or not trace.at_top_level()
        ):
            return self._dispatch(args, kwargs)
        if self.donate_states:
            _own(program.written)
        written = [state._raw for state in program.written]
        kept = [state._raw for state in program.kept]
        if TRACING.depth:  # another thread put its tracers into the states just now
            return self._dispatch(args, kwargs)
        try:
            out, written, new = program.run(written, kept, *data, **named)
        except _Miss:
            return self._dispatch(args, kwargs)
        except TypeError:
            if all(map(is_dynamic, jax.tree.leaves((data, named)))):
                raise
            return self._dispatch(args, kwargs)
        for state, raw in zip(program.written, written):  # noqa: B905 (strict costs time)
            state._raw = raw
        if new:
            fill(program.new, new, program.new_trees)
        return out if program.plain_out else join(program.out_tree, program.out_statics, out)

    def _revalidated(self, program: Program) -> bool:
        epoch = EPOCH.value
        if program.steady and program.valid(_settings()):
            program.epoch = epoch
            return True
        return False

    # -- the slow way: the first call, other shapes, static arguments, calls inside a trace ----

    def _dispatch(self, args: tuple, kwargs: dict) -> Any:
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self.fun(*args, **kwargs)
        args, kwargs = self._static.mark(args, kwargs)
        data, statics, tree = split((args, kwargs))
        settings = _settings()
        key = (settings, tree, _static_key(statics), tuple(map(jax.typeof, data)))
        with TRACE_LOCK:
            for program in self._programs.get(key, ()):
                if program.valid(settings) and _avals(program) in program.signatures:
                    try:
                        return self._run(program, args, kwargs, data)
                    except _Miss:
                        continue
            traced = Traced(self._static.call, args, kwargs)
            program = self._program_for(key, traced, settings)
            program.pending = traced
            try:
                return self._run(program, args, kwargs, data)
            finally:
                program.pending = None

    def _program_for(self, key: Any, traced: Traced, settings: tuple) -> Program:
        """A program that the trace may share, or a new one."""
        alive = [p for group in self._programs.values() for p in group if p.valid(settings)]
        program = next((p for p in alive if p.same_as(traced)), None)
        if program is None:
            program = Program(self.fun, traced, settings, self._donated, self._options)
        else:
            known = {(id(owner), name) for owner, name, _ in program.relied}
            fresh = _conditions(self.fun, traced)
            program.relied += [c for c in fresh if (id(c[0]), c[1]) not in known]
        if len(self._programs) >= _MOST_PROGRAMS:
            del self._programs[next(iter(self._programs))]
        group = self._programs.setdefault(key, [])
        group[:] = [p for p in group if p is not program and _may_return(p)] + [program]
        program.signatures.add(_avals(program))
        return program

    def _run(self, program: Program, args: tuple, kwargs: dict, data: list) -> Any:
        if not program.plain:
            args, kwargs = tuple(data), {}
        top = ACTIVE.frame is None
        if self.donate_states and top:
            _own(program.written)
        out, written, new = program.run(read(program.written), read(program.kept), *args, **kwargs)
        commit(program.written, written, program.written_trees)
        fill(program.new, new, program.new_trees)
        if not top:
            for owner, name, _ in program.relied:
                rely_on(owner, name)
        else:
            self._last = program
            fast = program.steady and program.valid(program.settings)
            program.epoch = EPOCH.value if fast else -1
        return out if program.plain_out else join(program.out_tree, program.out_statics, out)


def jit(fun: Callable | None = None, **options: Any) -> Any:
    """Compiles `fun` together with every State that it reads or writes.

    static_argnums, static_argnames: arguments that are constants of the program.  Arguments that
    are no data (modules, states, strings, functions) are constants by themselves.
    donate_states: the memory of a written State is reused for its new value; an array that
    somebody else still holds is copied first.  donate_argnums, donate_argnames: arguments that are
    given away in the same sense, without that care.
    Further options go to `jax.jit`.

    >>> step = jit(lambda x: net(x))
    >>> step(jnp.ones(3)).shape
    (2,)
    """
    if fun is None:
        return functools.partial(jit, **options)
    if not callable(fun):
        raise TypeError(f"jit compiles a function, got {fun!r}")
    return JittedFunction(fun, **options)


def _static_key(statics: list) -> tuple:
    return tuple(s if isinstance(s, Constant | str) else Same(s) for s in statics)


def _avals(program: Program) -> tuple:
    raws = (read(program.written), read(program.kept))
    return tuple(map(jax.typeof, jax.tree.leaves(raws)))


def _may_return(program: Program) -> bool:
    """Whether a program that is not valid now may become so: settings of modules never go back."""
    return all(
        getattr(owner, name) == value
        for owner, name, value in program.relied
        if isinstance(owner, Module)
    )


def _own(states: list[State]) -> None:
    """Makes every array of the states theirs alone, so that its memory may be given away."""
    for state in states:
        if state._tree is LEAF:
            if sys.getrefcount(state._raw) > 2 and isinstance(state._raw, jax.Array):
                state._raw = state._raw.copy()
        else:
            # Lists are never shared between States, so the arrays' own counts tell.
            raws = state._raw
            for k in range(len(raws)):
                if sys.getrefcount(raws[k]) > 2 and isinstance(raws[k], jax.Array):
                    raws[k] = raws[k].copy()
