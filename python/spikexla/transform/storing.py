"""Running a compiled program on the values of States, and storing what it leaves.

The call and the storing are one call of the library (`atomic.call`): no interrupt finds States of
which some are old and some new, and none takes the result of a program to which memory was given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..active import ACTIVE, EPOCH, LOST, TRACE_LOCK
from ..atomic import call
from ..state import LEAF, State, has_tracer
from ..value import NOTHING
from .trace import Frame, Traced, commit, has_hook


def at_once(write: Callable[[], Any]) -> None:
    """Calls `write`, which gives values to States, so that nobody finds some of them without.

    Until it returns, each State is as before to all other threads; then all have their values.
    """
    with Frame(lambda _, state: state._raw) as frame:
        write()
        written = frame.writes()
        values, trees = [state._raw for state in written], [state._tree for state in written]
    commit(written, values, trees)


def run_and_store(
    run: Callable,
    states: tuple[list[State], list[State], list[State]],  # written, kept, created
    trees: list | None,
    args: tuple,
    kwargs: dict,
    *,
    donates: bool,
) -> Any:
    """The result of `run(values of written, values of kept, *args, **kwargs)`.

    What it leaves is in the States.  trees: of those written and created, None where a State keeps
    its own.  NotImplemented, and nothing done, if a trace in another thread has one of the States.
    """
    if not donates:
        return call(run, *states, trees, args, kwargs)
    with TRACE_LOCK:  # two threads cannot give the same memory away
        if ACTIVE.journal is not None:
            for state in states[0]:
                ACTIVE.journal.note(state)
        _own(states[0])
        return call(run, *states, trees, args, kwargs)


def may_donate(traced: Traced) -> bool:
    """Whether memory of States may be given to the program of this trace.

    That is where jax runs a program that it knows without code written in Python: an interrupt in
    such code would take the result.  Effects and typed keys take jax's slow way.
    """
    out = jax.tree.leaves((traced.out_shapes, traced.written_shapes, traced.new_shapes))
    typed = any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in out)
    return has_hook() and not traced.jaxpr.effects and not typed


def keep_copies(states: Sequence[State]) -> None:
    """Lets the States hold copies of what was given to a call that is compiling, and has not run.

    Compiling is code written in Python: whatever interrupts it finds every State with its value.
    """
    with jax.ensure_compile_time_eval():
        for state in states:
            if state._frame is None and not has_tracer(state._raw):
                state._raw = jax.tree.map(_copy, state._raw)


def when_finished(run: Callable) -> Callable:
    """`run`, done when it returns: a callback that raises then leaves the States as they were."""
    return lambda *args, **kwargs: jax.block_until_ready(run(*args, **kwargs))


def note_lost(states: Sequence[State]) -> None:
    """A device failed with what it was given: the States whose memory that was have no value."""
    with TRACE_LOCK:  # while another thread traces, its tracers are in the states
        for state in states:
            arrays = [x for x in jax.tree.leaves(state._raw) if isinstance(x, jax.Array)]
            if any(x.is_deleted() for x in arrays):
                state._raw, state._tree, state._frame = [], NOTHING, LOST
                EPOCH.bump()


def _own(states: Sequence[State]) -> None:
    """Makes every array of the states theirs alone, so that its memory may be given away."""
    for state in states:
        if state._tree is LEAF:
            if sys.getrefcount(state._raw) > 2:
                state._raw = _copy(state._raw)
        elif sys.getrefcount(state._raw) > 2:  # a transaction holds the list
            state._raw = list(map(_copy, state._raw))
        else:
            raws = state._raw
            for k in range(len(raws)):
                if sys.getrefcount(raws[k]) > 2:
                    raws[k] = _copy(raws[k])


def _copy(x: Any) -> Any:
    return jnp.copy(x) if isinstance(x, jax.Array) else x
