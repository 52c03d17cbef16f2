"""`scan`, `for_loop` and `while_loop`: loops whose body reads and writes States.

The states that the body writes join the carry; those it only reads are constants of the loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..state import LEAF, TraceError
from .progress import ProgressBar, bar_of, showing, watch
from .staged import staged
from .trace import HOLE, Traced, commit, join, read, split
from .typed import vary, vary_as, varying, without_axis


class CarryError(TypeError):
    """A value carried by a loop left an iteration with another shape or dtype than it entered."""


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    pbar: ProgressBar | int | None = None,
) -> tuple[Any, Any]:
    """`jax.lax.scan` for a body that may read and write States: returns (carry, stacked ys).

    `f(carry, x) -> (carry, y)` runs once for each slice of `xs` along the leading axis.  States
    keep shape and dtype from one iteration to the next, else CarryError names the State.
    pbar: a `ProgressBar`, or the number of steps between its updates.

    >>> total, sums = scan(lambda c, x: (c + x, c + x), 0.0, jnp.arange(4.0))
    >>> sums
    Array([0., 1., 3., 6.], dtype=float32)
    """
    bar = bar_of(pbar)
    return showing(bar, staged, _scan, (f, length, reverse, unroll, bar), (init, xs))


def for_loop(
    f: Callable[..., Any],
    *xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    pbar: ProgressBar | int | None = None,
) -> Any:
    """Calls `f(x)` for each slice of `xs` along the leading axis and stacks the results.

    With `length` and no `xs`, `f()` is called that many times.
    pbar: a `ProgressBar`, or the number of steps between its updates.

    >>> for_loop(lambda i: net(inputs[i]), jnp.arange(1000)).shape      # doctest: +SKIP
    (1000, 100)
    """
    bar = bar_of(pbar)
    return showing(bar, staged, _for_loop, (f, length, reverse, unroll, bar), xs)


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any) -> Any:
    """Repeats `value = body_fun(value)` while `cond_fun(value)`; only the body may write States."""
    return staged(_while_loop, (cond_fun, body_fun), (init,))


def over_arguments(f: Callable) -> Callable:
    """`f(*x)` as the body of a scan that carries nothing."""

    def body(carry: None, x: tuple) -> tuple[None, Any]:
        return carry, f(*x)

    return body


def loop_over(
    f: Callable,
    init: Any,
    xs: Any,
    length: int | None,
    run: Callable,
    *,
    bar: tuple | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """The scan `run(body, carry, leaves of xs, length)` of a body that may use States."""
    length = length_of(xs, length)
    if bar is not None:
        f, xs = watch(f, xs, length, reverse, bar)
    x = jax.tree.map(lambda a: without_axis(a, 0), xs)
    loop = _Loop(f, init, x)

    def body(carry: tuple, x: list) -> tuple:
        leaves, written = carry
        out, written, _ = loop.traced.call([*leaves, *x], loop.raws(written))
        return vary_as((out[: len(leaves)], written), loop.start), out[len(leaves) :]

    (carry, written), ys = run(
        body, loop.start, list(map(jnp.asarray, jax.tree.leaves(xs))), length
    )
    loop.commit(written)
    return loop.traced.result([*carry, *ys])


def _for_loop(subject: tuple, *xs: Any) -> Any:
    f, *options = subject
    return _scan((over_arguments(f), *options), None, xs)[1]


def _scan(subject: tuple, init: Any, xs: Any) -> tuple[Any, Any]:
    f, length, reverse, unroll, bar = subject
    run = functools.partial(jax.lax.scan, reverse=reverse, unroll=unroll)
    return loop_over(f, init, xs, length, run, bar=bar, reverse=reverse)


def _while_loop(subject: tuple, init: Any) -> Any:
    cond_fun, body_fun = subject
    loop = _Loop(lambda value, _: (body_fun(value), None), init, None)
    test = Traced(cond_fun, (loop.initial,))
    if test.written or test.new:
        state = (*test.written, *test.new)[0]
        raise TraceError(
            f"{state.label} is written by the condition of while_loop, which may only read; "
            "write it in the body"
        )
    outside = dict(zip(map(id, test.states), read(test.states), strict=True))

    def go_on(carry: tuple) -> Any:
        leaves, written = carry
        now = {**outside, **loop.by_state(written)}
        out, _, _ = test.call(leaves, [now[id(state)] for state in test.states])
        return test.result(out)

    def body(carry: tuple) -> tuple:
        leaves, written = carry
        out, written, _ = loop.traced.call(leaves, loop.raws(written))
        return vary_as((out, written), loop.start)

    carry, written = jax.lax.while_loop(go_on, body, loop.start)
    loop.commit(written)
    return loop.traced.result(carry)[0]


class _Loop:
    """A traced loop body with a carry of the types that the body gives back.

    The carry is (data leaves of the user's value, raw values of the written states).
    """

    def __init__(self, f: Callable, init: Any, x: Any) -> None:
        leaves, statics, tree = split(init)
        cast: dict[int, Any] = {}
        # A weakly typed value (a Python number) takes the type that the body makes of it, and the
        # body is traced again with that: 0 + 0.5 turns an int into a float.  So does a value that
        # is the same on all shards of a mesh, where the body makes one that varies.
        while True:
            self.initial = join(tree, statics, leaves)
            traced = Traced(f, (self.initial, x), view=lambda s: cast.get(id(s), s._raw))
            traced.refuse_new("the body of a loop, which is traced once and runs many times")
            raws = dict(zip(map(id, traced.states), read(traced.states), strict=True)) | cast
            _check_structure(traced, tree, statics)
            before = leaves, {id(s): raws[id(s)] for s in traced.written}
            leaves, after = _settle(traced, *before)
            settled = _types((leaves, after)) == _types(before)
            cast.update(after)
            if settled:
                break
        self.traced = traced
        self._kept = raws
        self.start = (leaves, [after[id(s)] for s in traced.written])

    def by_state(self, written: Sequence[Any]) -> dict[int, Any]:
        return dict(zip(map(id, self.traced.written), written, strict=True))

    def raws(self, written: Sequence[Any]) -> list[Any]:
        now = {**self._kept, **self.by_state(written)}
        return [now[id(state)] for state in self.traced.states]

    def commit(self, written: Sequence[Any]) -> None:
        commit(self.traced.written, written, self.traced.written_trees)


def _settle(traced: Traced, leaves: list, raws: dict[int, Any]) -> tuple[list, dict[int, Any]]:
    """The carry cast to the types it has after one iteration, where that loses nothing."""
    n = len(leaves)
    settled = [
        _cast(f"the carry (leaf {k})", leaf, shape)
        for k, (leaf, shape) in enumerate(zip(leaves, traced.out_shapes[:n], strict=True))
    ]
    after = {}
    for state, shapes, tree in zip(
        traced.written, traced.written_shapes, traced.written_trees, strict=True
    ):
        raw = raws[id(state)]
        if jax.tree.structure(raw) != jax.tree.structure(shapes) or tree != state._tree:
            raise CarryError(
                f"{state.label} enters an iteration of the loop as {_show(state._tree)} and leaves "
                f"it as {_show(tree)}; a unit or structure must not change inside a loop"
            )
        after[id(state)] = jax.tree.map(lambda r, s, st=state: _cast(st.label, r, s), raw, shapes)
    return settled, after


def _cast(what: str, value: Any, shape: Any) -> Any:
    aval = jax.typeof(value)
    if aval.shape != shape.shape or (aval.dtype != shape.dtype and not aval.weak_type):
        raise CarryError(
            f"{what} enters an iteration of the loop as {aval.dtype}{list(aval.shape)} and leaves "
            f"it as {shape.dtype}{list(shape.shape)}. Give it its final shape and dtype before the "
            "loop, or cast what is written: .astype(x.dtype)."
        )
    if aval.weak_type or not isinstance(value, jax.Array):
        value = jnp.asarray(value, dtype=shape.dtype)
    return vary(value, varying(shape))


def _types(carry: Any) -> list:
    return [(jax.typeof(leaf).dtype, varying(leaf)) for leaf in jax.tree.leaves(carry)]


def _show(tree: Any) -> str:
    return "an array" if tree is LEAF else str(tree)


def _check_structure(traced: Traced, tree: Any, statics: list) -> None:
    out = traced.result([HOLE] * len(traced.out_shapes))
    if not isinstance(out, tuple) or len(out) != 2:
        raise CarryError(f"the body of scan must return (carry, y), got {type(out).__name__}")
    found = jax.tree.structure(out[0])
    if found != tree:
        raise CarryError(
            f"the carry enters the loop as {tree} and leaves it as {found}; "
            "return a carry of the structure of `init`"
        )
    for before, after in zip(statics, jax.tree.leaves(out[0]), strict=True):
        if before is not after:
            raise CarryError(
                f"the carry has {before!r} before an iteration and {after!r} after it; "
                "only data may change in a loop"
            )


def length_of(xs: Any, length: int | None) -> int:
    """How often a loop runs over these inputs."""
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(xs)}
    if () in lengths:
        raise ValueError("a loop goes over the leading axis of its inputs, got a scalar input")
    found = {n for (n,) in lengths} | ({length} if length is not None else {*()})
    if not found:
        raise ValueError("a loop needs inputs to go over, or `length=` for how often to run")
    if len(found) > 1:
        raise ValueError(
            f"the inputs of a loop (and `length`) disagree on its length: {sorted(found)}; "
            "their leading axes must be equal"
        )
    return found.pop()
