"""`scan`, `for_loop` and `while_loop`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import State
from spikexla.transform import (
    CarryError,
    checkpointed_for_loop,
    checkpointed_scan,
    for_loop,
    grad,
    scan,
    vjp,
    while_loop,
)
from transform_cases import XS, Cell


@pytest.mark.usefixtures("tracing")
def test_weak_numbers_settle_in_a_loop():
    n, total = State(0), State(0)

    def body(x):
        n.value += 1
        total.value = total.value + 0.5
        return x

    for_loop(body, jnp.zeros(4))
    assert (int(n.value), float(total.value)) == (4, 2.0)
    carry, _ = scan(lambda c, x: (c + 0.5, None), 0, None, length=4)
    assert float(carry) == 2.0


@pytest.mark.parametrize(
    ("start", "change", "what"),
    [
        (jnp.zeros(3, jnp.int32), lambda v: v + 0.5, r"'V'.*int32\[3\].*float32\[3\]"),
        (jnp.zeros(3), lambda v: jnp.zeros(4), r"'V'.*float32\[3\].*float32\[4\]"),
        (jnp.zeros(3), lambda v: {"a": v}, r"'V'.*structure must not change"),
    ],
)
def test_a_carry_that_changes_type_is_named(start, change, what):
    state = State(start, name="V")

    def body(x):
        state.value = change(state.value)

    with pytest.raises(CarryError, match=what):
        for_loop(body, jnp.zeros(3))
    assert state.value is start


def test_loops_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"disagree on its length: \[2, 3\]"):
        for_loop(lambda a, b: a, jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"length="):
        for_loop(lambda: 1)
    with pytest.raises(ValueError, match="scalar input"):
        for_loop(lambda x: x, 1.0)
    with pytest.raises(CarryError, match=r"must return \(carry, y\)"):
        scan(lambda c, x: c, 0.0, jnp.zeros(3))
    with pytest.raises(CarryError, match="structure of `init`"):
        scan(lambda c, x: ((c, c), x), 0.0, jnp.zeros(3))
    with pytest.raises(sx.TraceError, match=r"created at .*test_transform_.*inside the body"):
        for_loop(lambda x: State(x).value, jnp.zeros(3))
    state = State(0, name="n")

    def writes(v):
        state.value += 1
        return v < 3

    with pytest.raises(sx.TraceError, match=r"'n'.*only read"):
        while_loop(writes, lambda v: v + 1, 0)


def test_loops_without_inputs_and_over_nothing():
    cell = Cell()
    assert for_loop(lambda: cell(1.0), length=3).shape == (3, 3)
    assert int(cell.steps.value) == 3
    assert for_loop(cell, jnp.zeros((0, 3))).shape == (0, 3)
    assert for_loop(lambda a, b: (a, b["x"]), XS, {"x": XS})[1].shape == XS.shape


def test_random_draws_in_a_loop_are_those_of_a_python_loop():
    sx.random.seed(3)
    looped = for_loop(lambda: sx.random.rand(2), length=4)
    sx.random.seed(3)
    plain = jnp.stack([sx.random.rand(2) for _ in range(4)])
    np.testing.assert_array_equal(looped, plain)


# -- checkpointed loops ---------------------------------------------------------------------------


@pytest.mark.sampled(9)
@pytest.mark.parametrize("base", [2, 3, 16])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 9, 17, 37, 256])
def test_a_checkpointed_loop_is_a_loop(n, base):
    xs = jnp.linspace(0.0, 1.0, n * 3).reshape(n, 3)
    plain, cell = Cell(), Cell()
    expected = for_loop(plain, xs)
    np.testing.assert_allclose(checkpointed_for_loop(cell, xs, base=base), expected, rtol=1e-6)
    np.testing.assert_allclose(cell.V.value, plain.V.value, rtol=1e-6)
    assert int(cell.steps.value) == n
    f = lambda c, x: (c * 0.9 + x, {"c": c})  # noqa: E731
    ours, jaxs = checkpointed_scan(f, jnp.zeros(3), xs, None, base), scan(f, jnp.zeros(3), xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, jaxs)


@pytest.mark.usefixtures("tracing")
def test_the_gradient_of_a_checkpointed_loop():
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)
    found = []
    for loop in (for_loop, functools.partial(checkpointed_for_loop, base=3)):
        cell = Cell()
        found.append(grad(lambda cell=cell, loop=loop: (loop(cell, xs) ** 2).sum(), cell.w)())
        assert int(cell.steps.value) == 50
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_a_checkpointed_loop_keeps_few_steps():
    """Floats that wait for the backward pass; the body leaves 3 * 1000 of them a step."""

    def kept(loop, n):
        def run(v):
            return loop(lambda c, _: (jnp.sin(jnp.exp(jnp.cos(c))), None), v, None, n)[0]

        _, pull = vjp(run, jnp.ones(1000))
        return sum(x.size for x in jax.tree.leaves(pull))

    assert kept(scan, 1000) > 1_000_000
    assert kept(checkpointed_scan, 1000) < 100_000
    # Sixteen times the steps: one more level of the cut, not sixteen times the memory.
    assert kept(checkpointed_scan, 16_000) < kept(checkpointed_scan, 1000) + 40_000


@pytest.mark.parametrize("base", [1, 0, True, 2.0, None])
def test_the_base_must_cut(base):
    with pytest.raises(ValueError, match="base of a checkpointed loop is an integer of at least 2"):
        checkpointed_for_loop(lambda x: x, jnp.ones(3), base=base)
