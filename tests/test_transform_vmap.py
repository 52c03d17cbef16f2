"""`vmap`: lanes, axes of States, random numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import State
from spikexla.transform import BatchAxisError, for_loop, grad, jit, vmap
from transform_cases import XS, Cell


@pytest.mark.usefixtures("tracing")
def test_vmap_is_a_stack_of_calls():
    cell = Cell()
    cell.V.value = jnp.zeros((5, 3))
    cell.steps.value = jnp.zeros(5, jnp.int32)
    out = vmap(lambda x: cell(x), in_states=(cell.V, cell.steps))(XS)
    np.testing.assert_allclose(out, 0.5 * XS, rtol=1e-6)
    assert cell.V.value.shape == (5, 3)
    np.testing.assert_array_equal(cell.steps.value, np.ones(5))
    shared = State(jnp.ones(3))
    np.testing.assert_allclose(vmap(lambda x: x * shared.value)(XS), XS)
    grads = grad(lambda: vmap(lambda x: (x * shared.value).sum())(XS).sum(), shared)()
    np.testing.assert_allclose(grads, XS.sum(0), rtol=1e-6)


def test_vmap_axes():
    state = State(jnp.zeros((3, 5)))
    f = vmap(
        lambda x, y: (setattr(state, "value", state.value + x), x + y)[1],
        (0, None),
        1,
        in_states={1: state},
    )
    assert f(XS, 1.0).shape == (3, 5)
    np.testing.assert_allclose(state.value, XS.T)
    assert vmap(lambda: 1.0, axis_size=3)().shape == (3,)


def test_vmap_lanes_draw_their_own_numbers():
    sx.random.seed(0)
    drawn = vmap(lambda x: sx.random.rand() + 0 * x)(jnp.zeros(6))
    assert len(set(map(float, drawn))) == 6
    sx.random.seed(0)
    np.testing.assert_array_equal(
        drawn, jit(vmap(lambda x: sx.random.rand() + 0 * x))(jnp.zeros(6))
    )


def test_vmap_says_what_is_wrong():
    state = State(jnp.zeros(()), name="V")

    def f(x):
        state.value = x

    with pytest.raises(BatchAxisError, match=r"'V'.*out_states"):
        vmap(f)(jnp.zeros(3))
    assert float(state.value) == 0.0
    vmap(f, out_states=state)(jnp.ones(3))
    assert state.value.shape == (3,)
    with pytest.raises(ValueError, match=r"sizes \[2, 3\]"):
        vmap(lambda x, y: x)(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="in_axes has 1 entries"):
        vmap(lambda x, y: x, in_axes=(0,))(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="axis 0 of an argument, an array of shape"):
        vmap(lambda x: x)(1.0)
    with pytest.raises(TypeError, match="must hold States"):
        vmap(lambda x: x, in_states=3)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_states_along_any_axis(axis):
    shape = [2, 3, 4]
    state, n = State(jnp.zeros(shape)), shape[axis]

    def f(x):
        assert state.value.shape == tuple(np.delete(shape, axis))
        state.value = state.value + x
        return state.value.sum()

    for wrap in (lambda f: f, jit):
        state.value = jnp.zeros(shape)
        wrap(vmap(f, in_states={axis: state}))(jnp.arange(float(n)))
        np.testing.assert_array_equal(jnp.moveaxis(state.value, axis, 0)[:, 0, 0], np.arange(n))
    made = State(jnp.zeros(()))
    vmap(lambda x: setattr(made, "value", jnp.full((5, 6), x)), out_states={axis: made})(
        jnp.arange(7.0)
    )
    assert made.value.shape == tuple(np.insert([5, 6], axis % 3, 7))


def test_nested_lanes_map_one_axis_each():
    state = State(jnp.zeros((3, 2, 5)))

    def inner(x, y):
        state.value = state.value + x * y
        return state.value.sum()

    def outer(x):
        return vmap(inner, (None, 0), in_states={-1: state})(x, jnp.arange(2.0))

    out = vmap(outer, in_states={2: state})(jnp.arange(5.0))
    assert out.shape == (5, 2)
    expected = np.arange(2.0)[:, None] * np.arange(5.0)
    np.testing.assert_array_equal(state.value, np.broadcast_to(expected, (3, 2, 5)))


def test_trees_of_axes_keywords_and_names():
    f = lambda d, k: d["a"] + d["b"] * k  # noqa: E731
    arguments = {"a": jnp.ones((4, 2)), "b": 2.0}, 3.0
    out = vmap(f, in_axes=({"a": 1, "b": None}, None), out_axes=-1)(*arguments)
    np.testing.assert_array_equal(out, np.full((4, 2), 7.0))
    np.testing.assert_array_equal(vmap(lambda x, *, k: x - k)(XS[0], k=XS[1]), XS[0] - XS[1])
    cell = Cell()
    out = vmap(lambda c, x: (c.w.value * x, "name", c, None))(cell, jnp.arange(2.0))
    np.testing.assert_array_equal(out[0], [[0.0] * 3, [0.5] * 3])
    assert out[1:] == ("name", cell, None)
    centre = vmap(lambda x: x - jax.lax.pmean(x, "lane"), axis_name="lane")
    np.testing.assert_array_equal(centre(jnp.arange(3.0)), [-1.0, 0.0, 1.0])
    looped = vmap(
        lambda x: for_loop(lambda y: y + jax.lax.psum(x, "lane"), jnp.arange(2.0)),
        axis_name="lane",
    )
    np.testing.assert_array_equal(looped(jnp.arange(3.0)), [[3.0, 4.0]] * 3)
    assert vmap(lambda x: x + sx.random.rand())(jnp.zeros(0)).shape == (0,)
    with pytest.raises(ValueError, match=r"out_axes=\(0, 0\) does not fit"):
        vmap(lambda x: x, out_axes=(0, 0))(jnp.ones(3))


def test_lanes_of_lanes_draw_their_own_numbers():
    def draw():
        return vmap(lambda x: vmap(lambda y: sx.random.rand())(jnp.zeros(2)))(jnp.zeros(3))

    sx.random.seed(1)
    drawn, after = draw(), sx.random.rand()
    assert len({*map(float, drawn.ravel()), float(after)}) == 7
    sx.random.seed(1)
    np.testing.assert_array_equal(jit(draw)(), drawn)
    assert float(sx.random.rand()) == float(after)
    sx.random.seed(1)
    looped = for_loop(draw, length=2)
    np.testing.assert_array_equal(looped[0], drawn)
    assert len({*map(float, looped.ravel())}) == 12
    sx.random.seed(1)
    scaled = grad(lambda x: vmap(lambda _: x * sx.random.rand())(jnp.zeros(3)).sum())(1.0)
    sx.random.seed(1)
    np.testing.assert_allclose(
        scaled, vmap(lambda _: sx.random.rand())(jnp.zeros(3)).sum(), rtol=1e-6
    )
