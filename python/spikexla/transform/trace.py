"""Tracing functions that read and write States.

A `Frame` is one trace in progress.  The first time it meets a State it puts its own tracer into
the State, so that whatever the function does with it is traced; when the frame closes, every State
gets its old value back, also after an error.  `Traced` runs a function once in such a frame and
keeps a jaxpr over its arguments and the states it met, the lists of states read, written and
created, and the shape of its result.  All transforms are a few lines on top of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer, eval_jaxpr

from ..active import ACTIVE, LOST
from ..active import TRACING as TRACING
from ..atomic import FrameScope, store
from ..state import State, TraceError
from ..value import DATA, refuse_objects

# The one private hook: `trace.new_arg` adds an input to a jaxpr while it is being traced, so the
# states of a function are found in the same run that traces it.  Names last checked with jax 0.10.2
# and 0.12.0.  Where the hook is gone or behaves otherwise, `Traced` runs the function again until
# it knows all its states: slower to trace, the same result.
try:
    from jax._src import source_info_util as _source_info
    from jax._src.core import trace_ctx as _trace_ctx

    _TOP_LEVEL = _trace_ctx.trace
except ImportError:  # pragma: no cover - depends on the jax installed
    _trace_ctx: Any = None
    _source_info: Any = None
    _TOP_LEVEL = None


def current_trace() -> Any:
    """The trace that jax is in, None where jax does not say."""
    return None if _trace_ctx is None else _trace_ctx.trace


def at_top_level() -> bool:
    """Whether jax says that nothing is being traced in this thread."""
    return _trace_ctx is not None and _trace_ctx.trace is _TOP_LEVEL


def has_hook() -> bool:
    """Whether `at_top_level` can say yes."""
    return _trace_ctx is not None


def _new_input(trace: Any, like: Any) -> Any:
    return trace.new_arg(jax.typeof(like), source_info=_source_info.current())


def _hook_works() -> bool:
    def probe(x: Any) -> Any:
        return jax.lax.sub(_new_input(current_trace(), x), x)

    try:
        jaxpr = jax.make_jaxpr(probe)(jax.ShapeDtypeStruct((), np.float32)).jaxpr
        (equation,) = jaxpr.eqns
        return len(jaxpr.invars) == 2 and list(equation.invars) == list(reversed(jaxpr.invars))
    except Exception:
        return False


ONE_PASS = _hook_works()


def _ended(tracers: list[Any]) -> bool:
    """Whether a tracer belongs to no trace that is going on; False where jax does not tell."""
    going_on, trace = [], current_trace()
    while trace is not None:
        going_on.append(trace)
        if trace is _TOP_LEVEL:
            return any(all(x._trace is not t for t in going_on) for x in tracers)
        trace = getattr(trace, "parent_trace", None)
    return False


def has_ended(x: Any) -> bool:
    """Whether `x` is a stand-in for a value of a trace that is over."""
    return isinstance(x, Tracer) and _ended([x])


class Frame(FrameScope):
    """One trace in progress; `lift` gives the raw value with which it sees a State.

    It begins and ends with `with`: what the States held is put back in one moment.
    """

    def __init__(self, lift: Callable[[Frame, State], Any]) -> None:
        super().__init__()
        self.lift = lift
        self.parent: Frame | None = None
        self.trace = current_trace()
        self.states: list[State] = []  # met, in order
        self.new: list[State] = []  # created
        self.written: dict[int, State] = {}
        self.relied: dict[tuple[int, str], Any] = {}  # see `state.rely_on`
        self.waiting: list[tuple[Any, str, str]] = []  # (inputs, key, owner) of what was added
        self.saved: list[tuple[State, Any, Any, Any]] = []  # (State, raw, tree, frame) before

    def touch(self, state: State) -> None:
        """Registers a State with this trace and, before, with every trace around it."""
        if self.parent is not None and state._frame is not self.parent:
            self.parent.touch(state)
        raw = self.lift(self, state)
        self.states.append(state)
        self.saved.append((state, state._raw, state._tree, state._frame))
        # An interrupt may come after any call, so the two are put in place without one.
        state._raw, state._frame = raw, self

    def note_write(self, state: State, raw: Any) -> None:
        """Registers a write, which must come from this trace and not from one inside it."""
        self.refuse_foreign(state, raw, "written")
        self.written[id(state)] = state

    def note_new(self, state: State) -> None:
        """Registers a State that was created in this trace."""
        self.refuse_foreign(state, state._raw, "created")
        self.new.append(state)

    def refuse_foreign(self, state: State, raw: Any, what: str) -> None:
        """Raises TraceError if `raw` is traced, but not by this trace."""
        refuse_objects(raw, state)
        tracers = [x for x in jax.tree.leaves(raw) if isinstance(x, Tracer)]
        if not tracers:
            return
        trace = current_trace()
        if trace is not self.trace:
            raise TraceError(
                f"{state.label} was {what} inside a transform of jax itself ({trace}) that runs "
                "inside one of spikexla. jax.vmap, jax.grad, jax.lax.scan... cannot carry States: "
                "use the one of the same name in spikexla.transform."
            )
        if _ended(tracers):
            raise TraceError(
                f"{state.label} was {what} with a value from a function that was traced before. "
                "Such a value is no number: return it from that function, or keep it in a State."
            )

    def run(self, fun: Callable, args: tuple, kwargs: dict, refuse: bool = True) -> Any:
        """`fun(*args, **kwargs)` in this trace.

        An input that it leaves for a later step, which would find none, is a TraceError, or is
        forgotten if nothing will be computed.
        """
        try:
            out = fun(*args, **kwargs)
        finally:
            left = [(key, owner) for inputs, key, owner in self.waiting if inputs.forget(key, self)]
        if left and refuse:
            key, owner = left[0]
            raise TraceError(
                f"{owner} was given the input {key!r} for its next step, but what is compiled ends "
                "before that, so the input would be lost. Give it before the step that takes it: "
                "spikes = pre.get_spike(), then the projection, then the populations."
            )
        return out

    def writes(self) -> list[State]:
        """The states that were written, in the order they were met."""
        return [state for state in self.states if id(state) in self.written]


def read(states: Iterable[State]) -> list[Any]:
    """The raw values of the states, as the active trace sees them."""
    reached = [s if s._frame is ACTIVE.frame else s._reach(reading=True) for s in states]
    return [s._raw for s in reached]


def commit(states: Iterable[State], raws: Iterable[Any], trees: Iterable[Any]) -> None:
    """Writes raw values into the states, all in one moment, reporting to the active trace.

    States created in a trace come to life outside of it in the same way.
    """
    frame = ACTIVE.frame
    states, raws = list(states), list(raws)
    roots = [s if s._frame is frame or s._frame is LOST else s._reach() for s in states]
    for state, raw in zip(roots, raws, strict=True):
        if frame is None:
            state._refuse_strangers(raw)
        else:
            frame.note_write(state, raw)
            if state._frame is LOST:
                frame.new.append(state)
    store(roots, raws, same_trees(roots, trees))


def same_trees(states: Sequence[State], trees: Iterable[Any]) -> list[Any]:
    """The trees, those that equal the State's own replaced by it: identity tells of a change."""
    pairs = zip(states, trees, strict=True)
    return [state._tree if tree == state._tree else tree for state, tree in pairs]


_data_types: set[type] = set()  # those met: a look-up is faster than isinstance


def is_dynamic(leaf: Any) -> bool:
    """Whether an argument leaf is data; everything else is a setting, compared by identity."""
    if not isinstance(leaf, DATA):
        return False
    _data_types.add(type(leaf))
    return True


class Hole:
    """Marks the place of a dynamic leaf among the static ones."""

    def __repr__(self) -> str:
        return "*"


HOLE = Hole()


def split(tree: Any) -> tuple[list[Any], list[Any], Any]:
    """Takes a tree apart: its data leaves, its other leaves with holes, its structure."""
    leaves, structure = jax.tree.flatten(tree)
    statics = [HOLE if type(leaf) in _data_types or is_dynamic(leaf) else leaf for leaf in leaves]
    data = [leaf for leaf, static in zip(leaves, statics, strict=True) if static is HOLE]
    return data, statics, structure


def is_plain(statics: list[Any]) -> bool:
    """Whether a tree that was taken apart held nothing but data."""
    return statics.count(HOLE) == len(statics)


def join(structure: Any, statics: Sequence[Any], leaves: Iterable[Any]) -> Any:
    """The inverse of `split`."""
    rest = iter(leaves)
    return jax.tree.unflatten(structure, [next(rest) if s is HOLE else s for s in statics])


class Traced:
    """`fun(*args, **kwargs)`, run once: a jaxpr over data leaves and states, and the live States.

    states: what the function met, in order.  written: those of them it wrote.  new: the states it
    created.  The `*_trees` are the structures of the values that the function left in them.
    """

    states: list[State]
    written: list[State]
    new: list[State]
    relied: dict[tuple[int, str], Any]
    out_tree: Any
    out_statics: list[Any]

    def __init__(
        self,
        fun: Callable,
        args: tuple,
        kwargs: dict | None = None,
        *,
        view: Callable[[State], Any] = lambda state: state._raw,
        axis_env: Sequence[tuple[Any, int]] | None = None,
        refuse: bool = True,
    ) -> None:
        """`view` gives a stand-in for a State's raw value whose shape and dtype are traced.

        `axis_env` has the names and sizes of axes that the function may reduce over.  refuse: it
        will be computed, so an input that it leaves for a later step is an error.
        """
        data, self.statics, self.tree = split((args, kwargs or {}))
        known: list[State] = []
        while not self._trace(fun, data, known, view, axis_env, refuse):
            known = self.states

    def _trace(
        self,
        fun: Callable,
        data: list,
        known: list[State],
        view: Callable,
        axis_env: Any,
        refuse: bool,
    ) -> bool:
        """Traces with the `known` states as inputs; whether these, or the hook, were enough."""

        def lift(frame: Frame, state: State) -> Any:
            if id(state) in given:
                return given[id(state)]
            if ONE_PASS:
                return jax.tree.map(lambda x: _new_input(frame.trace, x), view(state))
            return state._raw

        def flat(leaves: list[Any], raws: list[Any]) -> tuple:
            given.update(zip(map(id, known), raws, strict=True))
            with Frame(lift) as frame:
                for state in known:
                    if state._frame is not frame:
                        frame.touch(state)
                args, kwargs = join(self.tree, self.statics, leaves)
                out = frame.run(fun, args, kwargs, refuse)
                self._note(frame)
                written = [state._raw for state in self.written]
                new = [state._raw for state in self.new]
                data_out, self.out_statics, self.out_tree = split(out)
            return data_out, written, new

        given: dict[int, Any] = {}
        make = jax.make_jaxpr(flat, axis_env=axis_env, return_shape=True)
        self.jaxpr, shapes = make(data, [*map(view, known)])
        self.constants = [_own(x) for x in self.jaxpr.consts]
        self.out_shapes, self.written_shapes, self.new_shapes = shapes
        self._out_structure = jax.tree.structure(shapes)
        return ONE_PASS or len(known) == len(self.states)

    def _note(self, frame: Frame) -> None:
        self.states, self.written = frame.states, frame.writes()
        self.relied = frame.relied
        self.new = [s for s in frame.new if not isinstance(s._frame, State)]
        self.written_trees = [s._tree for s in self.written]
        self.new_trees = [s._tree for s in self.new]

    def call(
        self, leaves: Iterable[Any], raws: Sequence[Any], constants: list[Any] | None = None
    ) -> tuple[list, list, list]:
        """Data leaves of the result, raw values written, raw values of new states."""
        inputs = [*leaves, *jax.tree.leaves(list(raws))]
        constants = self.constants if constants is None else constants
        flat = eval_jaxpr(self.jaxpr.jaxpr, constants, *inputs)
        return jax.tree.unflatten(self._out_structure, flat)

    def commit(self, written: Sequence[Any], new: Sequence[Any]) -> None:
        """Gives the States what a call left for them."""
        states, trees = [*self.written, *self.new], [*self.written_trees, *self.new_trees]
        commit(states, [*written, *new], trees)

    def result(self, leaves: Iterable[Any]) -> Any:
        """What the function returned, with these data leaves."""
        return join(self.out_tree, self.out_statics, leaves)

    def refuse_new(self, where: str) -> None:
        """Raises when the function created states, where that cannot have a meaning."""
        if self.new:
            raise TraceError(
                f"{self.new[0].label} was created inside {where}. "
                "Create it before, and write its value inside."
            )


def _own(constant: Any) -> Any:
    """A constant that nobody changes in place."""
    return constant.copy() if isinstance(constant, np.ndarray) else constant
