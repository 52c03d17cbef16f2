"""Jacobians, Hessians and their products with vectors, by States and arguments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla import ParamState, State, StateDict
from spikexla.transform import (
    UnusedStateWarning,
    grad,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    value_and_grad,
    vector_grad,
    vjp,
    vmap,
)
from transform_cases import Cell

W, B, X = jnp.asarray([1.0, -2.0]), jnp.asarray(0.5), jnp.asarray([0.3, 0.7, -1.1])


def pure(w, b, x):
    return {"y": jnp.outer(jnp.sin(w), x) * b, "z": (w**2).sum() * b}


class Case:
    """`pure` with its first two arguments in States; each call also counts."""

    def __init__(self):
        self.w, self.b = ParamState(W, name="w"), ParamState(B, name="b")
        self.calls = State(0)

    def __call__(self, x):
        self.calls.value += 1
        return pure(self.w.value, self.b.value, x)


def check(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), found, expected
    )


TRANSFORMS = {"jacrev": (jacrev, jax.jacrev), "jacfwd": (jacfwd, jax.jacfwd)}
TRANSFORMS["hessian"] = hessian, jax.hessian


@pytest.mark.sampled(5)
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.usefixtures("tracing")
def test_by_states_as_jax_does_by_arguments(name, wrap):
    ours, jaxs = TRANSFORMS[name]
    f = Case()
    check(wrap(ours(f, f.w))(X), jaxs(pure)(W, B, X))
    check(wrap(ours(f, [f.w, f.b]))(X), as_lists(jaxs(pure, (0, 1))(W, B, X)))
    check(wrap(ours(f))(X), jaxs(pure, 2)(W, B, X))
    check(wrap(ours(f, argnums=(0,)))(X), jaxs(pure, (2,))(W, B, X))
    assert int(f.calls.value) == 4


def as_lists(tree):
    """Tuples of (w, b), which jax gives for two arguments, as the list that we asked for."""
    if isinstance(tree, dict):
        return {k: as_lists(v) for k, v in tree.items()}
    return list(map(as_lists, tree)) if isinstance(tree, tuple) else tree


@pytest.mark.parametrize("name", ["jacrev", "jacfwd"])
def test_by_states_and_arguments_together(name):
    ours, jaxs = TRANSFORMS[name]
    f = Case()
    found = ours(lambda x: f(x)["y"], {"w": f.w, "b": f.b}, 0)(X)
    by_w, by_b, by_x = jaxs(lambda *a: pure(*a)["y"], (0, 1, 2))(W, B, X)
    check(found, ({"w": by_w, "b": by_b}, by_x))
    (grads, value), aux = found, f(X)
    assert value.shape == (2, 3, 3)
    assert grads["w"].shape == (*aux["y"].shape, 2)


def test_hessian_blocks():
    f = Case()
    found = hessian(lambda x: f(x)["z"] * x.sum(), {"w": f.w, "b": f.b}, 0)(X)
    parts = jax.hessian(lambda w, b, x: pure(w, b, x)["z"] * x.sum(), (0, 1, 2))(W, B, X)
    states = {"w": parts[0], "b": parts[1]}
    rows = {k: ({"w": row[0], "b": row[1]}, row[2]) for k, row in states.items()}
    check(found, (rows, ({"w": parts[2][0], "b": parts[2][1]}, parts[2][2])))


def test_vector_grad_sums_the_rows_of_the_jacobian():
    f = Case()
    found = vector_grad(lambda x: f(x)["y"], [f.w, f.b], 0)(X)
    rows = jacrev(lambda x: f(x)["y"], [f.w, f.b], 0)(X)
    check(found, jax.tree.map(lambda row: row.sum((0, 1)), rows))
    check(vector_grad(lambda x: x**2)(X), 2 * X)
    assert float(vector_grad(lambda x: (x, 2 * x))(1.0)) == 3.0


FORMS = {"grad": grad, "vector_grad": vector_grad, "jacrev": jacrev, "jacfwd": jacfwd}
FORMS["hessian"] = hessian


@pytest.mark.parametrize("name", FORMS)
def test_what_every_derivative_returns(name):
    transform = FORMS[name]
    w = ParamState(2.0)
    f, g = lambda x: w.value**2 * x, lambda x: (w.value**2 * x, "aux")
    by_w, by_x = (6.0, 0.0) if name == "hessian" else (12.0, 4.0)
    assert float(transform(f, w)(3.0)) == by_w
    assert float(transform(f)(3.0)) == by_x
    grads, value = transform(f, w, return_value=True)(3.0)
    assert (float(grads), float(value)) == (by_w, 12.0)
    grads, aux = transform(g, w, has_aux=True)(3.0)
    assert (float(grads), aux) == (by_w, "aux")
    grads, value, aux = transform(g, w, has_aux=True, return_value=True)(3.0)
    assert (float(grads), float(value), aux) == (by_w, 12.0, "aux")
    cell = Cell()
    params = cell.states(ParamState)
    with pytest.raises(TypeError, match=r"argument 0 has dtype int32.*make it floating point"):
        transform(lambda x: x)(1)
    with pytest.raises(TypeError, match="argument 0 holds 'a', which is no number"):
        transform(lambda x: 1.0)("a")
    with pytest.raises(ValueError, match="names each once"):
        transform(lambda x: x, argnums=(0, 0))
    loss = lambda params, net, x: (net(x) ** 2).sum()  # noqa: E731
    with_states = transform(loss, params)(cell, jnp.ones(3))
    assert isinstance(with_states, StateDict)
    assert list(with_states) == ["w"]
    with pytest.warns(UnusedStateWarning, match="does not read"):
        assert float(transform(lambda x: x, w)(1.0)) == 0.0
    with pytest.raises(ValueError, match="does not read"):
        transform(lambda x: x, w, check_states=True)(1.0)
    with pytest.raises(TypeError, match="differentiates a function"):
        transform(3)


def test_names_and_decorators():
    assert jacobian is jacrev
    w = ParamState(2.0)
    assert float(vector_grad(grad_states=w)(lambda: w.value**3)()) == 12.0
    loss, grads = value_and_grad(lambda: w.value**3, w)()
    assert (float(loss), float(grads)) == (8.0, 12.0)
    assert jacrev(lambda x: x**2)(jnp.zeros(0)).shape == (0, 0)


def test_of_quantities_the_numbers_are_differentiated():
    import brainunit as u

    w = ParamState(jnp.asarray([1.0, 2.0]) * u.mV)
    jac = jacrev(lambda: w.value**2, w)()
    np.testing.assert_allclose(jac.mantissa, [[2.0, 0.0], [0.0, 4.0]])
    assert jac.unit == u.mV
    found = hessian(lambda: (w.value.mantissa**2).sum(), {"w": w})()["w"]["w"]
    np.testing.assert_allclose(found.mantissa, 2 * np.eye(2))
    out, pull = vjp(lambda: w.value * 2, grad_states=w)
    assert out.unit == u.mV
    for cotangent in (jnp.ones(2), jnp.ones(2) * u.mV):
        np.testing.assert_allclose(pull(cotangent).mantissa, [2.0, 2.0])
    _, along = jvp(lambda x: x**2, (3.0 * u.mV,), (1.0,))
    assert float(along.mantissa) == 6.0


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@pytest.mark.usefixtures("tracing")
def test_vjp_pulls_back_as_often_as_one_likes(wrap):
    f = Case()
    out, pull, aux = wrap(
        lambda x: vjp(lambda x: (f(x)["y"], "aux"), x, grad_states={"w": f.w}, has_aux=True)
    )(X)
    expected, pull_jax = jax.vjp(lambda w, x: pure(w, B, x)["y"], W, X)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert (aux, int(f.calls.value)) == ("aux", 1)
    for v in (jnp.ones((2, 3)), jnp.arange(6.0).reshape(2, 3)):
        by_w, by_x = pull_jax(v)
        check(pull(v), ({"w": by_w}, by_x))
    rows = jax.vmap(pull)(jnp.eye(6).reshape(6, 2, 3))[1]
    np.testing.assert_allclose(rows.reshape(2, 3, 3), jacrev(lambda x: f(x)["y"])(X), rtol=1e-6)


def test_which_arguments_vjp_takes():
    w = ParamState(2.0)
    assert float(vjp(lambda x, y: x * y, 2.0, 3.0)[1](1.0)) == 3.0
    assert float(vjp(lambda x, y: x * y, 2.0, 3.0, argnums=-1)[1](1.0)) == 2.0
    assert [float(v) for v in vjp(lambda x, y: x * y, 2.0, 3.0, argnums=(1, 0))[1](1.0)] == [2, 3]
    assert float(vjp(lambda x: x * w.value, 3.0, grad_states=w, argnums=None)[1](1.0)) == 3.0
    assert float(vjp(lambda: w.value**2, grad_states=w)[1](1)) == 4.0
    _, pull = vjp(lambda x: 2 * x, jnp.ones(2))
    for wrong, what in [(1.0, r"shape \(2,\), got \(\)"), ((1.0, 2.0), "must have the structure")]:
        with pytest.raises(ValueError, match=what):
            pull(wrong)
    for arguments, what in [
        ({"argnums": 3}, "argument 3 of"),
        ({"argnums": (0, -1)}, "names each once"),
    ]:
        with pytest.raises(ValueError, match=what):
            vjp(lambda x: x, 1.0, **arguments)
    with pytest.raises(ValueError, match="nothing to differentiate"):
        vjp(lambda: 1.0)


@pytest.mark.usefixtures("tracing")
def test_jvp_moves_states_and_arguments():
    f = Case()
    out, along = jvp(
        lambda x: f(x)["y"], (X,), (2 * X,), grad_states={"w": f.w}, state_tangents={"w": 3 * W}
    )
    expected = jax.jvp(lambda w, x: pure(w, B, x)["y"], (W, X), (3 * W, 2 * X))
    np.testing.assert_allclose(out, expected[0], rtol=1e-6)
    np.testing.assert_allclose(along, expected[1], rtol=1e-6)
    assert int(f.calls.value) == 1
    _, along, aux = jvp(lambda x, y: (x * y, "aux"), (2.0, 3.0), (None, 1.0), has_aux=True)
    assert (float(along), aux) == (2.0, "aux")
    _, along = jvp(
        lambda: f.w.value * f.b.value, (), (), grad_states=[f.w, f.b], state_tangents=[None, 1.0]
    )
    np.testing.assert_allclose(along, W)


@pytest.mark.parametrize(
    ("arguments", "options", "what"),
    [
        ((1.0, (1.0,)), {}, "takes primals as a tuple"),
        (((1.0,), (1.0, 2.0)), {}, "1 primals and 2 tangents"),
        (((1.0,), (None,)), {}, "along no tangent"),
        (((1.0,), (jnp.ones(3),)), {}, r"shape \(\), got \(3,\)"),
        (((1.0,), ((1.0, 2.0),)), {}, "must have the structure"),
        (((1.0,), (1.0,)), {"grad_states": [ParamState(1.0)]}, "structure of grad_states"),
    ],
)
def test_jvp_says_what_is_wrong(arguments, options, what):
    with pytest.raises((TypeError, ValueError), match=what):
        jvp(lambda x: x, *arguments, **options)


def test_ensembles_of_gradients():
    w = ParamState(jnp.ones(3))
    f = lambda x: (w.value * x).sum()  # noqa: E731
    np.testing.assert_allclose(vmap(grad(f, w))(jnp.arange(2.0)), [[0] * 3, [1] * 3])
    np.testing.assert_allclose(grad(lambda xs: vmap(f)(xs).sum(), w)(jnp.arange(3.0)), [3] * 3)
    np.testing.assert_allclose(vmap(grad(f, w), in_states=w)(jnp.arange(3.0)), [0, 1, 2])
