"""`jit`: compiles a function together with the States it reads and writes.

`jax.jit` keeps the programs and picks one; this file only moves raw arrays between it and the
States.  A call whose program is known costs a list of the states' arrays and a few comparisons.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import jax

from ..active import ACTIVE, TRACE_LOCK
from ..atomic import Transaction
from ..config import warn_once
from ..state import rely_on
from . import trace
from .ahead import Lowered
from .capture import Snapshot
from .lifted import Lifted, fingerprint
from .program import Miss, Program, donations, kind_of, settings_now
from .static import StaticArguments, chosen_arguments
from .storing import note_lost, run_and_store
from .trace import TRACING, Traced, commit, is_dynamic, join, read, same_trees, split

_MOST_KINDS, _MOST_PROGRAMS, _MOST_LIFTED = 256, 64, 32
_MOST_COUNTED = 4096
_OFTEN = 2  # traces of one computation before its constants become arguments
_MOST_BYTES = 1 << 28  # of private copies, beyond which the oldest program goes


class NotKeptWarning(UserWarning):
    """A function is traced at every call, because what it reaches cannot be compared."""


class Kept:
    """The programs of a function, or of functions that are made anew for each call of one code.

    A program is found by what the function reaches: `root`, see `capture.py`.  `call` is what is
    traced.  strict: a trace that changes what it reaches is run again at the next call, as it would
    be without a compiler; else, as under `jax.jit`, what it does in Python is done once.
    """

    def __init__(
        self,
        static: StaticArguments,
        donated: tuple[bool, frozenset, frozenset] = (False, frozenset(), frozenset()),
        options: dict | None = None,
        *,
        strict: bool,
    ) -> None:
        self._static, self._donated, self._options = static, donated, options or {}
        self._strict = strict
        self._programs: dict[Any, list[Program]] = {}
        self._lifted: collections.OrderedDict[Hashable, Lifted] = collections.OrderedDict()
        self._times: collections.Counter[int] = collections.Counter()  # traced, by fingerprint
        self._last: Program | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has programs of its own."""
        return vars(self) | {"_programs": {}, "_lifted": collections.OrderedDict(), "_last": None}

    def clear_cache(self) -> None:
        """Forgets every program; the next call traces again."""
        self._programs.clear()
        self._lifted.clear()
        self._last = None

    @property
    def spent(self) -> bool:
        """Whether everything that its programs were for is gone."""
        return not self._lifted and not any(program.alive for program in self._all())

    def call(self, call: Callable, root: Any, args: tuple, kwargs: dict) -> Any:
        """`call(*args, **kwargs)`, compiled."""
        program = self._last
        if program is None or TRACING.depth or not trace.at_top_level():
            return self._dispatch(call, root, args, kwargs)
        data, named, statics = args, kwargs, None
        if program.kind is not None:
            data, statics = program.data_of(*self._static.mark(args, kwargs))
            named = {}
            if data is None:
                return self._dispatch(call, root, args, kwargs)
        if not program.holds(root, statics):
            return self._dispatch(call, root, args, kwargs)
        if program.borrows:
            program.lent = call, statics
        try:
            out = self._run_and_store(program, program.run, [], None, data, named)
        except Miss as miss:
            self._accept_all(program, root, statics)
            return self._dispatch(call, root, args, kwargs, miss.traced)
        except TypeError:
            if all(map(is_dynamic, jax.tree.leaves((data, named)))):
                raise
            return self._dispatch(call, root, args, kwargs)
        finally:
            if program.borrows:
                program.lent = None
        if program.retraced:
            self._accept_all(program, root, statics)
        if out is NotImplemented:  # another thread put its tracers into the states just now
            return self._dispatch(call, root, args, kwargs)
        return out if program.whole_out else join(program.out_tree, program.out_statics, out)

    # -- the slow way: the first call, several programs, calls inside a trace ------------------

    def _dispatch(
        self, call: Callable, root: Any, args: tuple, kwargs: dict, traced: Traced | None = None
    ) -> Any:
        args, kwargs = self._static.mark(args, kwargs)
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            with Transaction():
                return call(*args, **kwargs)
        data, statics, tree = split((args, kwargs))
        kind = kind_of(statics, tree)
        key, given = (settings_now(), kind), (args, kwargs) if kind is None else (tuple(data), {})
        statics = None if kind is None else statics
        with TRACE_LOCK:
            # Before it is traced: what a trace does in Python may be undone by the next one.
            same = [p for p in self._programs.get(key, ()) if self._fits(p, root, statics)]
            if traced is None:
                for program in self._candidates(same, given):
                    try:
                        return self._run(program, root, given, (call, statics))
                    except Miss as miss:
                        self._accept_all(program, root, statics)
                        traced = miss.traced
            given_too = None if statics is None else self._snapshot(tuple(statics))
            before = self._snapshot(root), given_too
            if traced is None or traced.new or self._strict:
                traced = Traced(call, args, kwargs)
            program = self._program_for(key, root, statics, before, traced, given, same)
            program.pending = traced
            return self._run(program, root, given, (call, statics))

    def _all(self) -> list[Program]:
        return [program for group in self._programs.values() for program in group]

    def _snapshot(self, root: Any) -> Snapshot:
        """What `root` reaches; one for all programs that were traced when it reached the same."""
        found = {id(s): s for p in self._all() for s in (p.snapshot, p.static) if s is not None}
        return next((s for s in found.values() if s.holds(root)), None) or Snapshot(root)

    @staticmethod
    def _candidates(same: list[Program], given: tuple[tuple, dict]) -> list[Program]:
        """The programs that may be meant: the only one, or the one that knows these shapes."""
        return same if len(same) == 1 else [p for p in same if p.knows(*given)]

    def _fits(self, program: Program, root: Any, statics: list | None) -> bool:
        """Whether a call of `root` may mean the program; inside a trace, code alone will not do."""
        return (program.lifted is None or ACTIVE.frame is None) and program.holds(root, statics)

    def _program_for(
        self,
        key: tuple,
        root: Any,
        statics: list | None,
        before: tuple[Snapshot, Snapshot | None],
        traced: Traced,
        given: tuple,
        same: list[Program],
    ) -> Program:
        """A program of the `same` that the trace may share, or a new one."""
        group = [p for p in self._programs.pop(key, ()) if p.alive]
        if len(self._programs) >= _MOST_KINDS:
            del self._programs[next(iter(self._programs))]
        self._programs[key] = group
        program = next((p for p in same if p.alive and p.take(traced)), None)
        if program is not None:
            return program
        reached, given_too = before
        opaque = [what for s in before if s is not None for what in s.opaque]
        if opaque:
            self._warn(root, opaque[0])
        elif not traced.new:
            reached = self._accept(reached, root)
            given_too = given_too and self._accept(given_too, tuple(statics or ()))
        # What a trace changes outside of `jit`, the next call is to change again.
        once = bool(opaque) or (self._strict and not reached.holds_but_for_counts(root))
        eager = self._strict and reached.has_arrays
        lifted = None if same else self._lifted_for(traced, at_once=once or eager)
        snapshots = reached, given_too
        program = Program(traced, key[0], snapshots, self._donated, self._options, lifted)
        if lifted is not None:
            program.compiled_for(*given)
        if not once:
            # Code for one shape only gives way to code for several.
            group[:] = [*(p for p in group if p not in same or p.lifted is None), program]
        while len(group) > _MOST_PROGRAMS or (
            len(group) > 1 and sum(p.snapshot.nbytes for p in group) > _MOST_BYTES
        ):
            del group[0]
        return program

    def _accept_all(self, program: Program, root: Any, statics: list | None) -> None:
        """Accepts what a trace for other shapes did."""
        program.retraced = False
        self._accept(program.snapshot, root)
        if program.static is not None:
            self._accept(program.static, tuple(statics or ()))

    def _accept(self, before: Snapshot, root: Any) -> Snapshot:
        """What is reached after a trace, whose own effects are done once (if not strict).

        Where it only counted in a class, as one does to see how often it runs, that is no effect.
        """
        if before.holds(root) or (self._strict and not before.holds_but_for_counts(root)):
            return before
        if any(p.snapshot.holds(root) for p in self._all()):  # it is as for another program
            return before
        after = Snapshot(root)
        for program in self._all():
            program.snapshot = after if program.snapshot is before else program.snapshot
            program.static = after if program.static is before else program.static
        return after

    def _lifted_for(self, traced: Traced, at_once: bool) -> Lifted | None:
        """The code of a trace without its constants, found again or to be compiled.

        Constants in the code are faster. So it is taken only for what is traced again and again,
        or where the constants are arrays that a new function may bring with each call.
        """
        key = fingerprint(traced) if ACTIVE.frame is None else None
        if key is None:
            return None
        found = self._lifted.pop(key, None)
        if found is None:
            if len(self._times) > _MOST_COUNTED:
                self._times.clear()
            self._times[hash(key)] += 1
            if not at_once and self._times[hash(key)] <= _OFTEN:
                return None
            _, positions, names = self._donated
            donate = donations(traced, False, positions, names, before=3)
            found = Lifted(traced, donate, self._options)
        self._lifted[key] = found
        if len(self._lifted) > _MOST_LIFTED:
            self._lifted.popitem(last=False)
        return found

    def _warn(self, root: Any, what: str) -> None:
        name = _name_of(root)
        warn_once(
            f"not kept {name} {what}",
            f"{name} reaches {what}, whose changes cannot be noticed, so it is traced again at "
            "every call (its compiled code is kept). Keep that out of the function, or give it "
            "what it needs as an argument.",
            NotKeptWarning,
            stacklevel=6,
        )

    def _run(
        self,
        program: Program,
        root: Any,
        given: tuple[tuple, dict],
        lent: tuple[Callable, list | None],
    ) -> Any:
        (args, kwargs), statics = given, lent[1]
        top = ACTIVE.frame is None
        program.follow()
        held = program.held
        stored = [*program.written, *(state for _, state, _ in held)]
        trees = [*program.written_trees, *(tree for _, _, tree in held)]
        run = functools.partial(_keep_new, program.run, [place for place, _, _ in held])
        program.lent = lent
        program.borrows = self._strict or statics is not None
        out = NotImplemented
        try:
            if top and trace.at_top_level():
                trees = same_trees(stored, trees)
                new = stored[len(program.written) :]
                run = program.run if program.steady else run
                out = self._run_and_store(program, run, new, trees, args, kwargs)
            if out is NotImplemented:
                before = read(program.written), read(program.kept)
                out, after, new = run(*before, *args, **kwargs)
                commit(stored, [*after, *new], trees)
        finally:
            program.pending = None
            if program.borrows:
                program.lent = None
        if program.retraced:
            self._accept_all(program, root, statics)
        if top:
            self._remember(program)
        else:
            for owner, name in program.relied:
                rely_on(owner, name)
        return out if program.whole_out else join(program.out_tree, program.out_statics, out)

    def _run_and_store(
        self, program: Program, run: Callable, new: list, trees: Any, args: tuple, kwargs: dict
    ) -> Any:
        states = program.written, program.kept, new
        try:
            return run_and_store(run, states, trees, args, kwargs, donates=program.donates)
        except (Miss, TypeError):
            raise
        except BaseException:
            if program.donates:
                note_lost(program.written)
            raise

    def _remember(self, program: Program) -> None:
        """Keeps the program at hand, unless the next call could mean another one like it."""
        group = self._programs.get((program.settings, program.kind), ())
        alike = [p for p in group if p.valid(p.settings) and p.is_like(program)]
        self._last = program if alike == [program] and program.steady else None


class JittedFunction(Kept):
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
        for name in ("in_shardings", "out_shardings"):
            if options.pop(name, None) is not None:
                raise TypeError(
                    f"jit takes no {name}, for it adds States to what goes in and out; place the "
                    "arrays with jax.device_put, or constrain them inside the function"
                )
        functools.update_wrapper(self, fun, updated=())
        self.fun = fun
        chosen = chosen_arguments(fun, donate_argnums, donate_argnames, "donate_argnames")
        static = StaticArguments(fun, static_argnums, static_argnames)
        super().__init__(static, (donate_states, *chosen), options, strict=False)
        self._unmarked = static.call

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(self._unmarked, self.fun, args, kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Lowers the function for these arguments, or `jax.ShapeDtypeStruct`; no State changes.

        `lower(...).compile()` is the program alone, without the choice of one in each call; it
        donates nothing.
        """
        return Lowered(self._static, args, kwargs, self._options)


def _keep_new(run: Callable, places: list[int], *args: Any, **kwargs: Any) -> tuple:
    """`run(...)`, with the values of those created States that somebody holds."""
    out, after, new = run(*args, **kwargs)
    return out, after, [new[k] for k in places]


def _name_of(root: Any) -> str:
    """What to call the function that is compiled: the first of the user's."""
    while isinstance(root, tuple) and len(root) > 0:
        ours = getattr(root[0], "__module__", None) or ""
        root = root[1] if ours.startswith("spikexla.") and len(root) > 1 else root[0]
    return getattr(root, "__qualname__", type(root).__qualname__)


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
