"""Work that changes many States, for interrupts: after n calls all of them are those after n."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spikexla as sx
from spikexla.active import ACTIVE, TRACE_LOCK, TRACING
from spikexla.transform import (
    checkpointed_for_loop,
    cond,
    for_loop,
    grad,
    jit,
    remat,
    scan,
    vmap,
    while_loop,
)

PACKAGE = str(Path(sx.__file__).parent)
MOST = 5  # calls in a row


class Counters(sx.nn.Module):
    """States of several kinds, one of them a tree; each call adds 1 to every one."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [sx.ShortTermState(jnp.zeros(())) for _ in range(6)]
        self.tree = sx.LongTermState({"a": jnp.zeros(2), "b": jnp.zeros(())})
        self.weight = sx.ParamState(jnp.zeros(3))

    def update(self, x: Any = 1.0) -> Any:
        for state in (*self.counts, self.tree, self.weight):
            state.value = jax.tree.map(lambda v: v + 1, state.value)
        return self.weight.value.sum() * x


class Around(sx.nn.Module):
    """A module that calls others, compiled ones too, and writes between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.own = Counters(), Counters(), sx.State(jnp.zeros(()))
        self.compiled = jit(lambda: self.second(), donate_states=True)

    def update(self) -> None:
        self.first()
        self.own.value = self.own.value + 1
        self.compiled()


class Work:
    """`act` changes `states`; `after[n]` is what they hold after n calls."""

    def __init__(self, act: Callable[[], Any], states: Any) -> None:
        self.act, self.states = act, list(states)
        self.start = [state.value for state in self.states]
        self.after = [self.snapshot()]
        for _ in range(MOST + 2):
            act()
            self.after.append(self.snapshot())
        assert len({*self.after}) == MOST + 3

    def snapshot(self) -> bytes:
        """The bytes and shapes of all that the States hold."""
        leaves = jax.tree.leaves([state.value for state in self.states])
        return repr([(np.shape(x), np.asarray(x).tobytes()) for x in leaves]).encode()

    def again(self) -> None:
        """Goes back to the start, to memory that nobody gave away."""
        for state, value in zip(self.states, self.start, strict=True):
            state.value = jax.tree.map(jnp.array, value)

    def check(self, done: int, where: str) -> None:
        """All States are those after `done` calls or one more, and the next call works."""
        assert ACTIVE.frame is None, where
        assert ACTIVE.journal is None, where
        assert TRACING.depth == 0, where
        assert not TRACE_LOCK._is_owned(), where  # type: ignore[attr-defined]
        now = self.snapshot()
        assert now in self.after, f"{where}: some States are old and some are new"
        n = self.after.index(now)
        assert done <= n <= done + 1, f"{where}: those of call {n} after {done} were done"
        self.act()
        assert self.snapshot() == self.after[n + 1], f"{where}: the next call went wrong"


def _counters(wrap: Callable[[Counters], Callable[[], Any]]) -> Callable[[], Work]:
    def make() -> Work:
        net = Counters()
        return Work(wrap(net), net.states().values())

    return make


def _optimizer(**options: Any) -> Work:
    net = Counters()
    opt = sx.optim.Adam(0.1, **options).register_trainable_weights(net.states(sx.ParamState))
    grads = {"weight": jnp.full(3, -1.0)}
    states = [net.weight, *opt.states().values()]
    moving = [s for s in states if s is not opt.skipped and s is not opt.param_groups[0].rate]
    return Work(lambda: opt.update(grads), moving)


def _random() -> Work:
    net, stream = Counters(), sx.random.RandomState(1)
    draw = vmap(lambda x: (net(), stream.normal())[1] + x, axis_size=2)
    return Work(lambda: _uncached(lambda: draw(jnp.zeros(2))), [*net.states().values(), stream])


def _uncached(act: Callable[[], Any]) -> Any:
    kept, sx.config.cache_eager = sx.config.cache_eager, False
    try:
        return act()
    finally:
        sx.config.cache_eager = kept


def _starts(method: str) -> Work:
    net = sx.nn.Sequential(*[sx.LIF(3) for _ in range(5)])
    start = getattr(sx.nn, method)
    start(net)
    V = net[0].V
    return Work(lambda: start(net, batch_size=1 + sum(V.value.shape[:-1])), net.states().values())


def _around() -> Work:
    net = Around()
    return Work(net, net.states().values())


def _simulated() -> Work:
    net = sx.network.COBANet(40, seed=1)
    return Work(lambda: sx.simulate(net, 0.5, record=False), net.states().values())


WORK: dict[str, Callable[[], Work]] = {
    "jit": _counters(lambda net: jit(net.update)),
    "jit, donated": _counters(lambda net: jit(net.update, donate_states=True)),
    "eager call": _counters(lambda net: net),
    "eager calls in calls": _around,
    "for_loop": _counters(lambda net: lambda: for_loop(net, jnp.ones(3))),
    "for_loop, not kept": _counters(
        lambda net: lambda: _uncached(lambda: for_loop(net, jnp.ones(3)))
    ),
    "scan": _counters(lambda net: lambda: scan(lambda c, x: (c, net(x)), 0.0, jnp.ones(2))),
    "checkpointed": _counters(lambda net: lambda: checkpointed_for_loop(net, jnp.ones(2))),
    "while_loop": _counters(
        lambda net: lambda: while_loop(lambda n: n < 1, lambda n: n + 1 + 0 * net(), 0.0)
    ),
    "grad": _counters(lambda net: lambda: grad(lambda: net(), net.weight)()),
    "cond": _counters(lambda net: lambda: cond(True, lambda: net(), lambda: 0.0)),
    "remat": _counters(lambda net: remat(lambda: net())),
    "vmap, random": _random,
    "optimizer": _optimizer,
    "optimizer, donated": functools.partial(_optimizer, donate=True),
    "init_all_states": functools.partial(_starts, "init_all_states"),
    "reset_all_states": functools.partial(_starts, "reset_all_states"),
    "simulate": _simulated,
}


# -- interrupts at a chosen place -----------------------------------------------------------------

# Where CPython looks for signals: at the start of a function, after a call, at the end of a round.
LOOKS = frozenset(
    k for k, name in enumerate(dis.opname) if name.startswith(("CALL", "JUMP_BACKWARD"))
)


class _Code:
    """The instructions of a function, and which of them are under which handler."""

    def __init__(self, code: Any) -> None:
        self.instructions = code.co_code
        self._handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]

    def handler(self, at: int) -> int:
        return next((h.target for h in self._handlers if h.start <= at < h.end), -1)

    def looked(self, before: int, now: int) -> bool:
        """Whether CPython might raise at the end of `before` what is raised `now`."""
        looks = before >= 0 and self.instructions[before] in LOOKS
        return looks and self.handler(before) == self.handler(now)


_code = functools.cache(_Code)


def interrupts(act: Callable[[], Any], at: int | None = None) -> int:
    """Runs `act`; raises KeyboardInterrupt at place `at`, if any. Returns how many places it met.

    Places are those in this package where CPython would raise it.
    """
    met = 0

    def look() -> None:
        nonlocal met
        met += 1
        if met == at:
            raise KeyboardInterrupt

    def called(frame: Any, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        code, before = _code(frame.f_code), -1

        def local(frame: Any, event: str, arg: Any) -> Any:
            nonlocal before
            if event == "opcode":
                ready = code.looked(before, frame.f_lasti)
                before = frame.f_lasti
                if ready:
                    look()
            elif event == "exception":
                before = -1  # the call did not come back
            elif event == "return" and arg is not None:
                look()  # as after the call in the caller, which is not its own next instruction
            return local

        look()
        return local

    sys.settrace(called)
    try:
        act()
    finally:
        sys.settrace(None)
    return met
