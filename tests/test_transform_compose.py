"""Every way to run a stateful function does the same to its result and its States."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.transform import checkpoint, cond, for_loop, grad, jit, scan, while_loop
from transform_cases import XS, Cell, eagerly

WAYS = {
    "jit": lambda c: jnp.stack([f(x) for f in [jit(lambda x: c(x))] for x in XS]),
    "jit, module as argument": lambda c: jnp.stack(
        [f(c, x) for f in [jit(lambda m, x: m(x))] for x in XS]
    ),
    "jit, donated": lambda c: jnp.stack(
        [f(x) for f in [jit(lambda x: c(x), donate_states=True)] for x in XS]
    ),
    "jit of jit": lambda c: jnp.stack([f(x) for f in [jit(jit(lambda x: c(x)))] for x in XS]),
    "for_loop": lambda c: for_loop(lambda x: c(x), XS),
    "for_loop in halves": lambda c: jnp.concatenate([for_loop(c, XS[:2]), for_loop(c, XS[2:])]),
    "jit of for_loop": lambda c: jit(lambda xs: for_loop(lambda x: c(x), xs))(XS),
    "scan": lambda c: scan(lambda k, x: (k + 1, c(XS[k])), 0, None, length=5)[1],
    "unrolled scan": lambda c: scan(lambda k, x: (k, c(x)), None, XS, unroll=2)[1],
    "for_loop of jit": lambda c: for_loop(jit(lambda x: c(x)), XS),
    "for_loop of checkpoint": lambda c: for_loop(checkpoint(lambda x: c(x)), XS),
    "for_loop of cond": lambda c: for_loop(
        lambda x: cond(x.sum() > -99, lambda: c(x), lambda: jnp.zeros(3)), XS
    ),
    "loop of loop": lambda c: for_loop(lambda x: for_loop(c, x[None])[0], XS),
    "while_loop": lambda c: while_loop(
        lambda v: v[0] < 5, lambda v: (v[0] + 1, v[1].at[v[0]].set(c(XS[v[0]]))), (0, 0 * XS)
    )[1],
    "grad's value": lambda c: jnp.stack(
        [grad(lambda x: (c(x).sum(), c.V.value), c.w, has_aux=True)(x)[1] for x in XS]
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("tracing")
def test_every_way_to_run_is_the_same(way):
    plain, cell = Cell(), Cell()
    expected = eagerly(plain, XS)
    np.testing.assert_allclose(WAYS[way](cell), expected, rtol=1e-6)
    np.testing.assert_allclose(cell.V.value, plain.V.value, rtol=1e-6)
    assert int(cell.steps.value) == 5
    assert not isinstance(cell.steps.value, jax.core.Tracer)
    assert cell.V._frame is None


def test_no_tracer_leaks():
    with jax.checking_leaks():
        for way in WAYS.values():
            way(Cell())


def test_a_state_written_reversed():
    cell = Cell()
    out = for_loop(cell, XS, reverse=True)
    np.testing.assert_allclose(out[::-1], eagerly(Cell(), XS[::-1]), rtol=1e-6)
