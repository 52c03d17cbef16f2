"""A hundred states back to their start, called from Python: what does a trial's reset cost?

States that share the memory of their start value cost no writing here, but do when they are next
updated; `numpy fill` writes arrays that exist already and knows of no modules: it is the floor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .. import nn
from ..ops.reset import reset as op_reset
from ..state import ShortTermState
from ..synapse import Expon
from .report import NATIVE, Row
from .timing import Plan, interleave

SIZES = (1_000,)
QUICK_SIZES = (10,)
STATES, BATCH = 100, 32
LIMIT = 0.4e-3  # seconds
FLOOR = "numpy fill"


class Cell(nn.Module):
    """The smallest module with something to reset."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.g = ShortTermState(jnp.zeros((BATCH, n), jnp.float32))


class Many(nn.Module):
    """A hundred modules, each with one state `g`."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.parts = [make() for _ in range(STATES)]


Made = tuple[Callable[[], list], Callable[[int], None]]  # reset dirty arrays once; a timing loop


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """Rows for each size of state (32, N): the modules' ways, and the op below them."""
    for n in sizes:
        shape = (BATCH, n)
        ways = {
            "reset_all_states, 100 x ShortTermState": lambda n=n: _cells(n),
            "reset_all_states, 100 x Expon": lambda n=n: _synapses(n, nn.reset_all_states),
            "init_all_states, 100 x Expon": lambda n=n: _synapses(n, nn.init_all_states),
            "ops.reset, 100 donated buffers": lambda shape=shape: _op(shape),
        }
        for case, make in ways.items():
            yield _row(f"{case} of {shape}", make, shape, plan)


def _row(case: str, make: Callable[[], Made], shape: tuple[int, int], plan: Plan) -> Row:
    made = {
        NATIVE: make(),
        "jitted zeros": _jitted_zeros(shape),
        "eager zeros": _eager_zeros(shape),
        FLOOR: _numpy_fill(shape),
    }
    wrong = {name: _not_zero(reset) for name, (reset, _) in made.items()}
    return Row(
        case=case,
        samples=interleave({name: loop for name, (_, loop) in made.items()}, plan),
        moved=4 * STATES * shape[0] * shape[1],
        limit=LIMIT,
        floor=FLOOR,
        error=f"values that are not zero: {wrong}" if any(wrong.values()) else None,
    )


def _cells(n: int) -> Made:
    net = Many(lambda: Cell(n))
    return _modules(net, (BATCH, n), nn.reset_all_states)


def _synapses(n: int, start: Callable[..., nn.Module]) -> Made:
    net = Many(lambda: Expon(n))
    return _modules(net, (BATCH, n), functools.partial(start, batch_size=BATCH))


def _modules(net: Many, shape: tuple[int, int], start: Callable[[Many], nn.Module]) -> Made:
    states = [state for part in net.parts for state in part.states().values()]

    def reset():
        for state in states:
            state.value = jnp.ones(shape, jnp.float32)
        start(net)
        return [state.value for state in states]

    def loop(calls):
        for _ in range(calls):
            start(net)
            jax.block_until_ready([state.value for state in states])

    return reset, loop


def _op(shape: tuple[int, int]) -> Made:
    return _donated(lambda xs: op_reset(xs, [0.0] * len(xs), backend="native"), shape)


def _jitted_zeros(shape: tuple[int, int]) -> Made:
    return _donated(lambda xs: [jnp.zeros_like(x) for x in xs], shape)


def _donated(function: Callable[[list], list], shape: tuple[int, int]) -> Made:
    jitted = jax.jit(function, donate_argnums=0, keep_unused=True)
    kept = [[jnp.ones(shape, jnp.float32) for _ in range(STATES)]]

    def reset():
        kept[0] = jitted(kept[0])
        return kept[0]

    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(reset())

    return reset, loop


def _eager_zeros(shape) -> Made:
    def reset():
        return [jnp.zeros(shape, jnp.float32) for _ in range(STATES)]

    def loop(calls):
        for _ in range(calls):
            jax.block_until_ready(reset())

    return reset, loop


def _numpy_fill(shape) -> Made:
    arrays = [np.ones(shape, np.float32) for _ in range(STATES)]

    def reset():
        for x in arrays:
            x.fill(0)
        return arrays

    def loop(calls):
        for _ in range(calls):
            reset()

    return reset, loop


def _not_zero(reset: Callable[[], list]) -> int:
    return sum(int(np.count_nonzero(np.asarray(x))) for x in reset())
