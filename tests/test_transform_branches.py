"""`cond`, `switch` and `ifelse`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla import State
from spikexla.transform import (
    BranchError,
    checkpoint,
    cond,
    for_loop,
    grad,
    hessian,
    ifelse,
    jit,
    jit_error_if,
    switch,
    vmap,
)


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


@pytest.mark.usefixtures("tracing")
def test_ifelse_takes_the_branch_whose_condition_holds():
    taken = State(jnp.zeros(3, jnp.int32))

    def branch(k):
        def run(x):
            taken.value = taken.value.at[k].add(1)
            return x * k

        return run

    def choose(x):
        return ifelse([x > 5, (0 < x) & (x <= 5), x <= 0], [branch(k) for k in range(3)], x)

    for wrap in (lambda f: f, jit):
        assert [float(wrap(choose)(x)) for x in (7.0, 3.0, -1.0)] == [0.0, 3.0, -2.0]
    np.testing.assert_array_equal(taken.value, [2, 2, 2])
    np.testing.assert_array_equal(vmap(choose, out_states=taken)(jnp.asarray([7.0, 3.0])), [0, 3])
    none, two = [False, False], [True, 1]
    first = lambda c: int(ifelse(c, [lambda: 1, lambda: 2], check_cond=False))  # noqa: E731
    assert (first(none), first(two)) == (2, 1)


def test_ifelse_says_what_is_wrong():
    for conditions in ([False, False], [True, True]):
        with pytest.raises(ValueError, match="exactly one condition of ifelse must be true"):
            ifelse(conditions, [lambda: 1, lambda: 2])
        with pytest.raises(jax.errors.JaxRuntimeError, match="exactly one condition"):
            jit(lambda c: ifelse(c, [lambda: 1, lambda: 2]))(jnp.asarray(conditions))
    with pytest.raises(ValueError, match="1 conditions and 2 branches"):
        ifelse([True], [lambda: 1, lambda: 2])
    with pytest.raises(ValueError, match="0 conditions and 0 branches"):
        ifelse([], [])
    with pytest.raises(TypeError, match="must be scalars"):
        ifelse([jnp.ones(2), True], [lambda: 1, lambda: 2])


FAILING = {
    "jit": lambda f: jit(f)(2.0),
    "for_loop": lambda f: for_loop(f, jnp.asarray([-1.0, 2.0])),
    "vmap": lambda f: vmap(f)(jnp.asarray([-1.0, 2.0, -3.0])),
    "vmap of jit of vmap": lambda f: vmap(jit(vmap(f)))(jnp.asarray([[-1.0, 2.0], [-3.0, -4.0]])),
    "grad": lambda f: jit(grad(f))(2.0),
    "hessian": lambda f: jit(hessian(f))(2.0),
    "checkpoint": lambda f: jit(grad(checkpoint(f)))(2.0),
    "cond": lambda f: jit(lambda x: cond(x > 0, f, lambda x: x, x))(2.0),
}


@pytest.mark.parametrize("way", FAILING)
def test_an_error_decided_by_values(way):
    state = State(0.0)

    def f(x):
        state.value = 1.0
        jit_error_if(x > 0, "x is {x}, {name} says", x=x, name="somebody")
        return x * x

    before = state.value
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"x is 2\.0, somebody says"):
        jax.block_until_ready(FAILING[way](f))
    assert state.value is before
    for fine in (-1.0, -2.0):
        assert float(jit(f)(fine)) == fine**2
    assert vmap(f)(-jnp.ones(3)).shape == (3,)


def test_errors_of_jit_error_if():
    def own(x):
        raise KeyError(f"own {x}")

    with pytest.raises(ValueError, match=r"^x is 2, or \{\}$"):
        jit_error_if(True, "x is %d, or {}", 2)
    with pytest.raises(ValueError, match=r"^x is 2$"):
        jit_error_if(np.ones(3), "x is {}", 2)
    with pytest.raises(ValueError, match=r"^100 % of \{this\}$"):
        jit_error_if(True, "100 % of {this}")
    with pytest.raises(KeyError, match="own 3"):
        jit_error_if(True, own, 3)
    with pytest.raises(ValueError, match="was called to raise an error"):
        jit_error_if(True, lambda: None)
    jit_error_if(False, own, 3)
    jit_error_if(jnp.zeros((0, 2)), own, 3)
