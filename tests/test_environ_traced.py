"""Time and other data of the environment are inputs of programs; dt and precision choose one."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import environ
from spikexla.transform import (
    checkpoint,
    checkpointed_for_loop,
    cond,
    eval_shape,
    for_loop,
    grad,
    hessian,
    ifelse,
    jacfwd,
    jacrev,
    jit,
    jvp,
    scan,
    switch,
    vector_grad,
    vjp,
    vmap,
    while_loop,
)
from transform_cases import count_traces

ONE = jnp.ones(())

# Each takes a function of one number and gives one that does the same.
WAYS = {
    "plain": lambda f: f,
    "jit": jit,
    "jit in jit": lambda f: jit(jit(f)),
    "for_loop": lambda f: lambda x: for_loop(f, x[None])[0],
    "scan": lambda f: lambda x: scan(lambda c, x: (c, f(x)), 0, x[None])[1][0],
    "checkpointed": lambda f: lambda x: checkpointed_for_loop(f, x[None])[0],
    "while_loop": lambda f: (
        lambda x: while_loop(lambda v: v[0] < 1, lambda v: (v[0] + 1, f(x)), (0, 0.0 * x))[1]
    ),
    "cond": lambda f: lambda x: cond(x > -99, f, lambda x: x, x),
    "cond on time": lambda f: lambda x: cond(environ.get("t") > -99, f, lambda x: x, x),
    "switch": lambda f: lambda x: switch(1, [lambda x: x, f], x),
    "ifelse": lambda f: lambda x: ifelse([x > 99, x <= 99], [lambda x: x, f], x),
    "checkpoint": checkpoint,
    "vmap": lambda f: lambda x: vmap(f)(x[None])[0],
    "grad": lambda f: lambda x: grad(lambda x: (f(x), f(x)), has_aux=True)(x)[1],
    "vector_grad": lambda f: lambda x: vector_grad(f, return_value=True)(x)[1],
    "jacrev": lambda f: lambda x: jacrev(f, return_value=True)(x)[1],
    "jacfwd": lambda f: lambda x: jacfwd(f, return_value=True)(x)[1],
    "hessian": lambda f: lambda x: hessian(f, return_value=True)(x)[1],
    "vjp": lambda f: lambda x: vjp(f, x)[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (x,))[0],
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("tracing")
def test_nothing_of_the_environment_is_baked_in(way):
    """One function, made once: t, i and own data from contexts and `set`, at two time steps."""

    def f(x):
        own = environ.get("own", default=0.0)
        now = environ.get("t") + 10 * environ.get("i", 0) + 100 * own
        return x * now + 1000 * environ.get_dt_ms()

    run = WAYS[way](f)
    for dt in (1.0, 2.0, 1.0):
        environ.set(dt=dt, t=0.5)
        assert float(run(ONE)) == 0.5 + 1000 * dt
        for t, i in ((1.0, 2), (3.0, 4)):
            with environ.context(t=t, i=i):
                assert float(run(ONE)) == t + 10 * i + 1000 * dt
                with environ.context(t=7.0, own=jnp.asarray(2.0)):
                    assert float(run(ONE)) == 7 + 10 * i + 200 + 1000 * dt
                with environ.context(dt=5.0):
                    assert float(run(ONE)) == t + 10 * i + 5000
        assert float(run(ONE)) == 0.5 + 1000 * dt
        environ.set(t=2.5)
        assert float(run(ONE)) == 2.5 + 1000 * dt


@pytest.mark.parametrize("way", WAYS)
def test_contexts_inside_of_a_trace(way):
    """A context opened in a traced function, around others, with a traced time."""
    inner = jit(lambda x: x + environ.get("t") + 100 * environ.get_dt_ms())

    def f(x):
        with environ.context(t=2 * x, dt=3.0):
            with environ.context(t=4 * x):
                deep = inner(x)
            return deep + environ.get("t")

    run = WAYS[way](f)
    environ.set(dt=1.0, t=0.0)
    for x in (1.0, 2.0):
        assert float(run(jnp.asarray(x))) == x + 4 * x + 300 + 2 * x
    assert (environ.get("t"), environ.get_dt()) == (0.0, 1.0)
    assert float(inner(ONE)) == 101.0


@pytest.mark.parametrize("way", WAYS)
def test_an_error_inside_of_a_context_inside_of_a_trace(way):
    environ.set(t=1.0, dt=0.5)

    def f(x):
        environ.set(own=x)
        with environ.context(t=x, i=x, dt=0.25, word="y"):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        jit(WAYS[way](f))(ONE)
    assert environ.all() == {"t": 1.0, "dt": 0.5}


def test_set_inside_of_a_program_happens_at_each_call():
    f = jit(lambda x: environ.set(t=x))
    for t in (1.0, 2.0, 3.0):
        f(t)
        assert float(environ.get("t")) == t
        environ.pop("t")
        assert environ.get("t", None) is None


def test_a_clock_in_a_loop():
    environ.set(t=0.0)

    def step(x):
        environ.set(t=environ.get("t") + x)
        return environ.get("t")

    for wrap in (lambda f: f, jit):
        environ.set(t=0.0)
        out = wrap(lambda: for_loop(step, jnp.ones(4)))()
        np.testing.assert_array_equal(out, [1.0, 2.0, 3.0, 4.0])
        assert float(environ.get("t")) == 4.0


def test_the_time_is_differentiated():
    with environ.context(t=3.0):
        assert float(grad(lambda x: x * environ.get("t") ** 2)(2.0)) == 9.0

    def f(t):
        with environ.context(t=t):
            return jit(lambda: environ.get("t") ** 3)()

    assert float(jit(grad(f))(2.0)) == 12.0
    assert float(jit(hessian(f))(2.0)) == 12.0
    np.testing.assert_array_equal(vmap(grad(f))(jnp.arange(3.0)), [0.0, 3.0, 12.0])
    assert eval_shape(f, 2.0).shape == ()


def test_data_may_change_shape_type_and_unit():
    import brainunit as u

    f, runs = count_traces(lambda: environ.get("t") * 2)
    f = jit(f)
    for t in (1.0, 2, jnp.ones(3), np.zeros(2), 1.5 * u.ms, 2.5 * u.second, 1.0):
        with environ.context(t=t):
            found = f()
        expected = t * 2
        if hasattr(expected, "unit"):
            assert found.unit == expected.unit
            found, expected = found.mantissa, expected.mantissa
        np.testing.assert_array_equal(found, expected)
    assert len(runs) <= 7


def test_precision_chooses_the_program():
    f, runs = count_traces(lambda: jnp.zeros(2, environ.dftype()))
    f = jit(f)
    for _ in range(2):
        assert f().dtype == jnp.float32
        with environ.context(precision=16):
            assert f().dtype == jnp.float16
        with environ.context(precision=64):
            assert f().dtype == jnp.float64
            assert for_loop(lambda: sx.random.rand(), length=2).dtype == jnp.float64
        with environ.context(precision="bf16"):
            assert f().dtype == jnp.bfloat16
    assert len(runs) == 4
    assert for_loop(lambda: sx.random.rand(), length=2).dtype == jnp.float32


def test_dt_with_a_unit_chooses_the_program():
    import brainunit as u

    f, runs = count_traces(lambda: ONE * environ.get_dt_ms())
    f = jit(f)
    for dt, ms in ((0.1, 0.1), (0.2 * u.ms, 0.2), (0.0003 * u.second, 0.3), (0.2 * u.ms, 0.2)):
        with environ.context(dt=dt):
            assert math.isclose(float(f()), ms, rel_tol=1e-6)
    assert len(runs) == 3


def test_own_settings_choose_the_program():
    f = jit(lambda x: x if environ.get("fit", False) else -x)
    assert float(f(1.0)) == -1.0
    with environ.context(fit=True):
        assert float(f(1.0)) == 1.0
        assert float(jit(lambda x: f(x))(1.0)) == 1.0
    assert float(f(1.0)) == -1.0
    environ.set(fit=True)
    assert float(f(1.0)) == 1.0


def test_all_values_seen_in_a_program():
    f = jit(lambda: environ.all().get("t", -1.0) * ONE)
    assert float(f()) == -1.0
    for t in (1.0, 2.0):
        with environ.context(t=t):
            assert float(f()) == t
    assert float(f()) == -1.0


def test_no_environment_where_jit_is_off():
    with jax.disable_jit(), environ.context(t=2.0, dt=0.5):
        assert float(jit(lambda: environ.get("t") * environ.get_dt_ms())()) == 1.0
        assert float(for_loop(lambda x: x * environ.get("t"), jnp.ones(2))[1]) == 2.0
