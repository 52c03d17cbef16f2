"""`jit`: compiles a function together with the States it reads and writes.

`jax.jit` keeps the programs and picks one; this file only moves raw arrays between it and the
States.  A call whose program is known costs a list of the states' arrays and a few comparisons.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from ..active import ACTIVE, EPOCH, TRACE_LOCK
from ..atomic import Transaction
from ..state import rely_on
from ..switches import here
from . import trace
from .ahead import Lowered
from .program import Miss, Program, kind_of, settings_now
from .static import StaticArguments, chosen_arguments
from .storing import note_lost, run_and_store
from .trace import TRACING, Traced, commit, is_dynamic, join, read, same_trees, split

_MOST_PROGRAMS = 256


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

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Lowers the function for these arguments, or `jax.ShapeDtypeStruct`; no State changes.

        `lower(...).compile()` is the program alone, without the choice of one in each call; it
        donates nothing.
        """
        return Lowered(self._static, args, kwargs, self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program = self._last
        if program is None:
            return self._dispatch(args, kwargs)
        valid = program.seen == (EPOCH.value, here().serial) or program.validate()
        if not valid or TRACING.depth or not trace.at_top_level():
            return self._dispatch(args, kwargs)
        data, named = args, kwargs
        if program.kind is not None:
            data, named = program.data_of(*self._static.mark(args, kwargs)), {}
            if data is None:
                return self._dispatch(args, kwargs)
        try:
            out = self._call(program, program.changed_trees, data, named)
        except Miss as miss:
            return self._dispatch(args, kwargs, miss.traced)
        except TypeError:
            if all(map(is_dynamic, jax.tree.leaves((data, named)))):
                raise
            return self._dispatch(args, kwargs)
        if out is NotImplemented:  # another thread put its tracers into the states just now
            return self._dispatch(args, kwargs)
        return out if program.whole_out else join(program.out_tree, program.out_statics, out)

    # -- the slow way: the first call, several programs, calls inside a trace ------------------

    def _dispatch(self, args: tuple, kwargs: dict, traced: Traced | None = None) -> Any:
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            with Transaction():
                return self.fun(*args, **kwargs)
        args, kwargs = self._static.mark(args, kwargs)
        data, statics, tree = split((args, kwargs))
        settings, kind = settings_now(), kind_of(statics, tree)
        given = (args, kwargs) if kind is None else (tuple(data), {})
        with TRACE_LOCK:
            if traced is None:
                for program in self._candidates((settings, kind), given):
                    try:
                        return self._run(program, given)
                    except Miss as miss:
                        traced = miss.traced
            if traced is None:
                traced = Traced(self._static.call, args, kwargs)
            program = self._program_for((settings, kind), traced)
            program.pending = traced
            try:
                return self._run(program, given)
            finally:
                program.pending = None

    def _candidates(self, key: Any, given: tuple[tuple, dict]) -> list[Program]:
        """The programs that may be meant: the only one, or the one that knows these shapes."""
        group = [p for p in self._programs.get(key, ()) if p.valid(p.settings)]
        return group if len(group) == 1 else [p for p in group if p.knows(*given)]

    def _program_for(self, key: tuple[tuple, Any], traced: Traced) -> Program:
        """A program that the trace may share, or a new one."""
        group = [p for p in self._programs.pop(key, ()) if p.may_return()]
        program = next((p for p in group if p.valid(p.settings) and p.take(traced)), None)
        if program is None:
            program = Program(self._static, traced, key[0], self._donated, self._options)
            group.append(program)
        if len(self._programs) >= _MOST_PROGRAMS:
            del self._programs[next(iter(self._programs))]
        self._programs[key] = group[-_MOST_PROGRAMS:]
        return program

    def _run(self, program: Program, given: tuple[tuple, dict]) -> Any:
        args, kwargs = given
        top = ACTIVE.frame is None
        program.follow()
        stored = [*program.written, *program.new]
        trees = [*program.written_trees, *program.new_trees]
        out = NotImplemented
        if top and trace.at_top_level():
            trees = same_trees(stored, trees)
            out = self._call(program, trees, args, kwargs)
        if out is NotImplemented:
            before = read(program.written), read(program.kept)
            out, after, new = program.run(*before, *args, **kwargs)
            commit(stored, [*after, *new], trees)
        if top:
            self._remember(program)
        else:
            for owner, name in program.relied:
                rely_on(owner, name)
        return out if program.whole_out else join(program.out_tree, program.out_statics, out)

    def _call(self, program: Program, trees: list | None, args: tuple, kwargs: dict) -> Any:
        states = program.written, program.kept, program.new
        try:
            return run_and_store(program.run, states, trees, args, kwargs, donates=program.donates)
        except (Miss, TypeError):
            raise
        except BaseException:
            if program.donates:
                note_lost(program.written)
            raise

    def _remember(self, program: Program) -> None:
        """Keeps the program at hand, unless the next call could mean another one like it."""
        group = self._programs.get((program.settings, program.kind), ())
        alone = not any(p.valid(p.settings) for p in group if p is not program)
        fast = alone and program.steady and program.validate()
        self._last = program if fast else None


def jit(fun: Callable | None = None, **options: Any) -> Any:
    """Compiles `fun` together with every State that it reads or writes.

    static_argnums, static_argnames: arguments that are constants of the program.  Arguments that
    are no data (modules, states, strings, functions) are constants by themselves.
    donate_states: the memory of a written State is reused for its new value; an array that
    somebody else still holds is copied first, and so is everything in a call that compiles, so that
    an interrupt finds every State with a value.  A device that fails (out of memory) may take the
    values with it.  Programs with effects (callbacks, prints) reuse nothing.
    donate_argnums, donate_argnames: arguments that are given away, without that care.
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
