"""`vmap`: lanes, axes of States, random numbers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import State
from spikexla.transform import BatchAxisError, grad, jit, vmap
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
