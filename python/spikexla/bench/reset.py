"""A hundred states back to their start, called from Python: what does a trial's reset cost?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .. import nn
from ..state import ShortTermState
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (1_000,)
QUICK_SIZES = (10,)
STATES, BATCH = 100, 32


class Cell(nn.Module):
    """The smallest module with something to reset."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.v = ShortTermState(jnp.zeros((BATCH, n), jnp.float32))


class Cells(nn.Module):
    """A hundred of them."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.cells = [Cell(n) for _ in range(STATES)]


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """A row for each size of state (32, N)."""
    for n in sizes:
        shape = (BATCH, n)
        makers = {
            NATIVE: _module_reset,
            "jitted zeros": _jitted_zeros,
            "eager zeros": _eager_zeros,
            "numpy fill": _numpy_fill,
        }
        made = {name: make(shape) for name, make in makers.items()}
        counts = {name: _zeros(reset) for name, (reset, _) in made.items()}
        loops = {name: loop for name, (_, loop) in made.items()}
        yield Row(
            case=f"{STATES} states of ({BATCH}, {n:,})",
            samples=interleave(loops, plan),
            moved=4 * STATES * BATCH * n,
            counts=counts,
            error=disagreement("zeros", counts),
            note="a result may share memory or be filled lazily only if the values read are zeros; "
            "numpy fill writes arrays that already exist and knows of no modules",
        )


Made = tuple[Callable[[], list], Callable[[int], object]]  # dirty arrays reset once; a timing loop


def _module_reset(shape) -> Made:
    net = Cells(shape[1])
    states = [cell.v for cell in net.cells]

    def reset():
        for state in states:
            state.value = jnp.ones(shape, jnp.float32)
        nn.reset_all_states(net)
        return [state.value for state in states]

    def loop(calls):
        for _ in range(calls):
            nn.reset_all_states(net)
            jax.block_until_ready([state.value for state in states])

    return reset, loop


def _jitted_zeros(shape) -> Made:
    zeros = jax.jit(lambda xs: jax.tree.map(jnp.zeros_like, xs), donate_argnums=0, keep_unused=True)
    kept = [[jnp.ones(shape, jnp.float32) for _ in range(STATES)]]

    def reset():
        kept[0] = zeros(kept[0])
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


def _zeros(reset) -> int:
    return sum(int(x.size - np.count_nonzero(np.asarray(x))) for x in reset())
