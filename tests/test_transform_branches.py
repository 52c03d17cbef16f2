"""`cond`, `switch` and `ifelse`."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
from spikexla import State
from spikexla.transform import BranchError, cond, jit, switch


@pytest.mark.usefixtures("tracing")
def test_branches_write_what_the_taken_one_writes():
    a, b = State(jnp.zeros(())), State(0)

    def left(x):
        a.value = a.value + x
        return x

    def right(x):
        b.value = b.value + 1
        return -x

    for wrap in (lambda f: f, jit):
        f = wrap(lambda p: cond(p, left, right, 2.0))
        assert [float(f(p)) for p in (True, False, 0, 1.5)] == [2.0, -2.0, -2.0, 2.0]
    assert (float(a.value), int(b.value)) == (8.0, 4)
    assert int(switch(9, [lambda: 0, lambda: 10, lambda: 20])) == 20


def test_branches_say_what_is_wrong():
    state = State(jnp.zeros(3), name="V")
    with pytest.raises(BranchError, match="different structures"):
        cond(True, lambda: (1, 2), lambda: 1)
    with pytest.raises(BranchError, match=r"'V'.*float32\[3\].*float32\[2\]"):
        cond(True, lambda: setattr(state, "value", jnp.zeros(2)), lambda: None)
    with pytest.raises(BranchError, match="unit or structure"):
        cond(True, lambda: setattr(state, "value", {"a": 1}), lambda: None)
    with pytest.raises(TypeError, match=r"scalar, got shape \(2,\)"):
        cond(jnp.ones(2), lambda: 1, lambda: 2)
    with pytest.raises(ValueError, match="at least one branch"):
        switch(0, [])
    assert state.value.shape == (3,)
