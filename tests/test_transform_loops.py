"""`scan`, `for_loop` and `while_loop`."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import State
from spikexla.transform import CarryError, for_loop, scan, while_loop
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
