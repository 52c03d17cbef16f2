"""`grad`: what it gives, what it writes, what it refuses."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla import LongTermState, ParamState, StateDict
from spikexla.transform import UnusedStateWarning, for_loop, grad, jit, value_and_grad
from transform_cases import XS, Cell


@pytest.mark.usefixtures("tracing")
def test_the_guides_convention():
    cell = Cell()

    def loss(params, net, x, y):
        return jnp.mean((net(x) - y) ** 2)

    params = cell.states(ParamState)
    x, y = jnp.ones(3), jnp.zeros(3)
    grads = grad(loss, params)(cell, x, y)
    assert isinstance(grads, StateDict)
    assert list(grads) == ["w"]
    np.testing.assert_allclose(grads["w"], 2 * 0.5 / 3 * np.ones(3), rtol=1e-6)
    cell.V.value = jnp.zeros(3)
    again = grad(loss, params)(params, cell, x, y)
    np.testing.assert_allclose(again["w"], grads["w"], rtol=1e-6)
    assert int(cell.steps.value) == 2


def test_what_grad_returns():
    w = ParamState(2.0)

    def f(x):
        return w.value**2 * x

    def g(x):
        return f(x), "aux"

    assert float(grad(f, w)(3.0)) == 12.0
    assert float(grad(f)(3.0)) == 4.0
    assert [float(v) for v in grad(f, w, 0)(3.0)] == [12.0, 4.0]
    assert [float(v[0]) for v in grad(f, [w], (0,))(3.0)] == [12.0, 4.0]
    assert [float(v) for v in grad(f, w, return_value=True)(3.0)] == [12.0, 12.0]
    grads, aux = grad(g, {"w": w}, has_aux=True)(3.0)
    assert (float(grads["w"]), aux) == (12.0, "aux")
    grads, loss, aux = grad(g, {"w": w}, has_aux=True, return_value=True)(3.0)
    assert (float(loss), aux) == (12.0, "aux")
    loss, grads = value_and_grad(f, w)(3.0)
    assert (float(loss), float(grads)) == (12.0, 12.0)
    (loss, aux), grads = value_and_grad(g, w, has_aux=True)(3.0)
    assert (float(loss), aux, float(grads)) == (12.0, "aux", 12.0)
    assert float(grad(grad_states=w)(f)(3.0)) == 12.0
    assert float(grad(grad(lambda x: x**3))(3.0)) == 18.0


def test_grad_of_shared_and_nested_states():
    w = ParamState({"a": jnp.ones(2), "b": jnp.ones(())})
    grads = grad(lambda: (w.value["a"] * w.value["b"]).sum(), {"x": w, "y": w})()
    np.testing.assert_allclose(grads["x"]["a"], np.ones(2))
    assert float(grads["y"]["b"]) == 2.0


@pytest.mark.usefixtures("tracing")
def test_grad_through_a_loop_matches_differences():
    def run(w):
        cell = Cell()
        cell.w.value = w
        return cell, lambda: (for_loop(cell, XS) ** 2).sum()

    w = jnp.full(3, 0.5)
    cell, loss = run(w)
    found = grad(loss, cell.w)()
    expected = jax.grad(lambda w: (_unrolled(w) ** 2).sum())(w)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    cell, loss = run(w)
    np.testing.assert_allclose(jit(grad(loss, cell.w))(), expected, rtol=1e-5)
    assert int(cell.steps.value) == 5


def _unrolled(w):
    v, out = jnp.zeros(3), []
    for x in XS:
        v = 0.9 * v + w * x
        out.append(v)
    return jnp.stack(out)


def test_unused_parameters_give_zeros_and_one_warning():
    used, unused = ParamState(jnp.ones(2), name="used"), ParamState(jnp.ones(3), name="unused")
    loss = lambda: used.value.sum()  # noqa: E731
    with pytest.warns(UnusedStateWarning, match="'unused'"):
        grads = grad(loss, {"a": used, "b": unused})()
    np.testing.assert_array_equal(grads["b"], np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grad(loss, {"a": used, "b": unused})()
    with pytest.raises(ValueError, match="'unused'"):
        grad(loss, {"a": used, "b": unused}, check_states=True)()


def test_grad_says_what_is_wrong():
    w, n = ParamState(jnp.ones(2)), LongTermState(0, name="n")
    with pytest.raises(TypeError, match=r"'n'.*has dtype int32"):
        grad(lambda: n.value * 1.0, n)()
    with pytest.raises(TypeError, match="returns one scalar"):
        grad(lambda: w.value, w)()
    with pytest.raises(TypeError, match="must hold States"):
        grad(lambda: 0.0, {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="argument 1 of"):
        grad(lambda x: x, argnums=1)(1.0)
    with pytest.raises(ValueError, match="not negative"):
        grad(lambda x: x, argnums=-1)
    with pytest.raises(TypeError, match=r"\(loss, aux\)"):
        grad(lambda x: x, has_aux=True)(1.0)


def test_a_failed_gradient_leaves_states_alone():
    cell = Cell()

    def loss(x):
        cell(x)
        raise RuntimeError("stop")

    for f in (grad(loss, cell.w), jit(grad(loss, cell.w))):
        with pytest.raises(RuntimeError, match="stop"):
            f(jnp.ones(3))
        assert float(cell.V.value.sum()) == 0.0
        assert cell.steps.value == 0


def test_higher_derivatives():
    w = ParamState(2.0)
    first = grad(lambda: w.value**3, w)
    assert float(grad(first, w)()) == 12.0
