"""The environment: settings are constants of programs, data are inputs of them."""

from __future__ import annotations

import math
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import ShortTermState, environ
from spikexla.environ import MissingTimeStepWarning
from spikexla.transform import for_loop, grad, jit


def test_set_get_pop_reset():
    environ.set(dt=0.2, fit=True)
    assert (environ.get("dt"), environ.get_dt(), environ.get_dt_ms()) == (0.2, 0.2, 0.2)
    assert environ.get("fit") is True
    assert environ.get("other", default=3) == 3
    assert environ.all() == {"dt": 0.2, "fit": True}
    assert environ.pop("fit") is True
    environ.reset()
    assert environ.all() == {}
    with pytest.raises(KeyError, match=r"'t' \(the clock\) is not set.*environ\.set\(t=\.\.\.\)"):
        environ.get("t", desc="the clock")


@pytest.mark.parametrize("dt", [0.0, -1.0, math.nan, math.inf, "x", None, True, [0.1, 0.2]])
def test_dt_must_be_a_positive_number(dt):
    with pytest.raises(ValueError, match="dt must be a positive number of ms"):
        environ.set(dt=dt)
    with pytest.raises(ValueError, match="dt must be"):
        environ.context(dt=dt)


def test_dt_as_a_quantity():
    import brainunit as u

    environ.set(dt=0.0002 * u.second)
    assert math.isclose(environ.get_dt_ms(), 0.2, rel_tol=1e-6)
    assert environ.get_dt().unit == u.second
    f = jit(lambda: environ.get_dt_ms() * jnp.ones(()))
    assert math.isclose(float(f()), 0.2, rel_tol=1e-6)
    with pytest.raises(TypeError, match=r"dt must be given in ms.*got mV"):
        environ.set(dt=1.0 * u.mV)
    with pytest.raises(ValueError, match="dt must be"):
        environ.set(dt=-1.0 * u.ms)


def test_a_missing_dt_is_a_tenth_of_a_ms_with_one_warning():
    import brainunit as u

    with pytest.warns(MissingTimeStepWarning, match=r"environ\.set\(dt=0\.1\)"):
        assert environ.get_dt_ms() == 0.1
    assert environ.get_dt_ms() == 0.1
    assert math.isclose(environ.get_dt().to_decimal(u.second), 1e-4, rel_tol=1e-6)
    with sx.config.context(strict=True), pytest.raises(KeyError, match="strict"):
        environ.get_dt()


def test_a_traced_dt_is_refused():
    with pytest.raises(TypeError, match="dt is a setting"):
        jit(lambda dt: environ.context(dt=dt))(0.1)


def test_context_nests_and_restores():
    environ.set(dt=0.1, t=0.0)
    with environ.context(dt=0.2, t=1.0, i=3):
        with environ.context(dt=0.3, t=2.0):
            assert (environ.get_dt(), environ.get("t"), environ.get("i")) == (0.3, 2.0, 3)
        assert (environ.get_dt(), environ.get("t")) == (0.2, 1.0)
    assert (environ.get_dt(), environ.get("t"), environ.get("i", None)) == (0.1, 0.0, None)
    with pytest.raises(RuntimeError, match="stop"), environ.context(dt=0.2, t=1.0):
        raise RuntimeError("stop")
    assert (environ.get_dt(), environ.get("t")) == (0.1, 0.0)

    @environ.context(dt=0.5)
    def f():
        return environ.get_dt()

    assert (f(), f(), environ.get_dt()) == (0.5, 0.5, 0.1)


def test_a_name_may_change_between_setting_and_data():
    environ.set(x="word")
    with environ.context(x=jnp.ones(2)):
        assert environ.get("x").shape == (2,)
    assert environ.get("x") == "word"
    environ.set(x=jnp.zeros(3))
    with environ.context(x=4):
        assert environ.get("x") == 4
    assert environ.get("x").shape == (3,)
    environ.set(x=1)
    assert environ.get("x") == 1
    with pytest.raises(TypeError, match="neither an array nor hashable"):
        environ.set(x=[1])


def test_compiled_functions_see_the_time():
    runs = []

    @jit
    def f():
        runs.append(1)
        return environ.get("t") * 2

    for t in (1.0, 2.0, 5.0):
        with environ.context(t=t):
            assert float(f()) == 2 * t
    assert len(runs) == 1
    with pytest.raises(KeyError, match="'t' is not set"):
        f()
    environ.set(t=7.0)
    assert float(f()) == 14.0
    with environ.context(t=8):
        assert int(f()) == 16


def test_compiled_functions_keep_a_program_for_each_dt():
    runs = []

    @jit
    def f(x):
        runs.append(1)
        return x * environ.get_dt_ms()

    for _ in range(3):
        for dt in (0.1, 0.2):
            with environ.context(dt=dt):
                assert math.isclose(float(f(1.0)), dt, rel_tol=1e-6)
    assert len(runs) == 2
    environ.set(dt=0.1)
    f(1.0)
    assert len(runs) == 2


def test_a_default_is_not_baked_in():
    f = jit(lambda: environ.get("t", default=-1.0) * jnp.ones(()))
    assert float(f()) == -1.0
    with environ.context(t=3.0):
        assert float(f()) == 3.0
    assert float(f()) == -1.0
    outer = jit(lambda: f() + 1)
    assert float(outer()) == 0.0
    with environ.context(t=3.0):
        assert float(outer()) == 4.0


@pytest.mark.parametrize("outside", [None, 100.0])
def test_time_in_a_loop_is_traced(outside):
    if outside is not None:
        environ.set(t=outside)
    state = ShortTermState(jnp.zeros(()))
    inner = jit(lambda: environ.get("t") * 1.0)

    def step(i):
        with environ.context(t=i * 0.1, i=i):
            state.value = state.value + environ.get("t")
            return inner() + environ.get("i")

    for wrap in (lambda f: f, jit):
        state.value = jnp.zeros(())
        out = wrap(lambda: for_loop(step, jnp.arange(4)))()
        np.testing.assert_allclose(out, [0.0, 1.1, 2.2, 3.3], rtol=1e-6)
        assert math.isclose(float(state.value), 0.6, rel_tol=1e-6)
        assert environ.get("t", None) == outside
    with environ.context(t=1.0):
        assert float(inner()) == 1.0
    assert float(grad(lambda x: grad_of_time(x))(2.0)) == 4.0


def grad_of_time(x):
    with environ.context(t=x):
        return environ.get("t") ** 2


def test_quantities_are_data():
    import brainunit as u

    f = jit(lambda: environ.get("t"))
    for t in (1.0, 2.0):
        with environ.context(t=t * u.ms):
            assert float(f().to_decimal(u.ms)) == t


def test_threads_have_contexts_of_their_own():
    environ.set(dt=0.1, t=0.0)
    f = jit(lambda: environ.get("t") + environ.get_dt_ms())
    seen = {}

    def work(k):
        with environ.context(dt=0.5, t=float(k)):
            seen[k] = [float(f()) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    with environ.context(t=50.0):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert math.isclose(float(f()), 50.1, rel_tol=1e-6)
    assert seen == {k: [k + 0.5] * 20 for k in range(4)}


def test_precision():
    assert environ.get_precision() == 32
    assert environ.dftype() == jnp.float32
    with environ.context(precision=64):
        assert environ.dftype() == jnp.float64
        assert sx.random.rand(2).dtype == jnp.float64
        assert sx.init.Normal()(3).dtype == jnp.float64
    assert sx.random.rand(2).dtype == jnp.float32
    with environ.context(precision=16):
        assert sx.random.rand(2).dtype == jnp.float16
    environ.set(precision=64)
    assert jax.config.jax_enable_x64
    assert environ.ditype() == jnp.int64
    environ.set(precision=32)
    assert not jax.config.jax_enable_x64
    with pytest.raises(ValueError, match="precision must be one of"):
        environ.set(precision=8)


def test_backend_and_config_refuse_unknown_names():
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*'xla', 'native'"):
        sx.backend("cuda")
    with pytest.raises(ValueError, match="unknown backend 'x'"):
        sx.backend.resolve("x")
    assert sx.backend.resolve(None) == sx.backend.current()
    with pytest.raises(AttributeError, match="config has no setting 'strickt'"):
        sx.config.strickt = True
    with pytest.raises(TypeError, match=r"config\.strict is True or False"):
        sx.config.strict = 1


def test_backend_is_a_setting_and_a_context():
    sx.backend("xla")
    with sx.backend("native") as name:
        assert name == sx.backend.current() == "native"
    assert sx.backend.current() == "xla"
