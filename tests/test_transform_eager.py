"""Loops and gradients called outside of `jit` are compiled once and never go stale."""

from __future__ import annotations

import queue

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import ParamState
from spikexla.transform import cond, for_loop, grad, scan, vmap
from transform_cases import XS, Cell, eagerly


class _CountsTraces:
    """Counts in a queue, which is no data: a list would be part of what is compared."""

    def __init__(self):
        self.queue = queue.SimpleQueue()

    @property
    def runs(self):
        return self.queue.qsize()

    def __call__(self, cell, x):
        self.queue.put(1)
        return cell.w.value * x


@pytest.mark.parametrize(
    "call",
    [
        lambda c, f: for_loop(lambda x: f(c, x), XS),
        lambda c, f: scan(lambda k, x: (k, f(c, x)), 0.0, XS),
        lambda c, f: grad(lambda p, n, x: f(n, x).sum(), c.states(ParamState))(c, XS[0]),
        lambda c, f: cond(True, lambda x: f(c, x), lambda x: x, XS[0]),
        lambda c, f: vmap(lambda x: f(c, x), out_states=(c.V, c.steps))(XS),
    ],
    ids=["for_loop", "scan", "grad", "cond", "vmap"],
)
def test_fresh_lambdas_do_not_trace_again(call):
    f, cell = _CountsTraces(), Cell()
    call(cell, f)
    before = f.runs
    for _ in range(3):
        call(cell, f)
    assert f.runs == before
    call(Cell(), f)
    assert f.runs > before


def test_what_a_loop_body_closes_over_is_not_forgotten():
    gain, table, cell = 1.0, [1.0], Cell()
    array = np.ones(3, np.float32)
    run = lambda: for_loop(lambda x: gain * table[0] * x.sum() * array[0] + cell.V.value[0], XS)  # noqa: E731
    one = run()
    gain = 2.0
    np.testing.assert_allclose(run(), 2 * one, rtol=1e-6)
    table[0] = 2.0
    np.testing.assert_allclose(run(), 4 * one, rtol=1e-6)
    array[0] = 2.0
    np.testing.assert_allclose(run(), 8 * one, rtol=1e-6)
    cell.V.value = jnp.ones(3)
    np.testing.assert_allclose(run(), 8 * one + 1, rtol=1e-6)


FACTOR = 1.0


def test_globals_are_not_forgotten(monkeypatch):
    run = lambda: for_loop(lambda x: FACTOR * x.sum(), XS)  # noqa: E731
    one = run()
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(run(), 3 * one, rtol=1e-6)


def test_caching_can_be_switched_off():
    with sx.config.context(cache_eager=False):
        cell = Cell()
        np.testing.assert_allclose(for_loop(cell, XS), eagerly(Cell(), XS), rtol=1e-6)
        assert float(grad(lambda x: x**2)(3.0)) == 6.0


@pytest.mark.parametrize("of", [float, np.float32, lambda z: complex(1, z)])
def test_zeros_of_either_sign_are_two_constants(of):
    def signed(x):
        return x * np.copysign(1.0, number.imag if isinstance(number, complex) else number)

    for sign in (1.0, -1.0, 1.0, -1.0):
        number = of(sign * 0.0)
        np.testing.assert_allclose(for_loop(lambda x: signed(x), XS), sign * XS)
