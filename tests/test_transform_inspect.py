"""`make_jaxpr` and `eval_shape` look at a function without running it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla import ParamState, ShortTermState, State
from spikexla.nn import Module
from spikexla.transform import checkpoint, eval_shape, for_loop, jit, make_jaxpr
from transform_cases import Cell


@pytest.mark.usefixtures("tracing")
def test_the_jaxpr_takes_arguments_and_states_and_gives_what_is_written():
    read, count = State(jnp.ones(2)), State(jnp.zeros(()))

    def f(x):
        count.value += 1
        return read.value * x, "static"

    jaxpr, states, shapes = make_jaxpr(f, return_shape=True)(3.0)
    assert {*states} == {read, count}
    assert (shapes[0].shape, shapes[1]) == ((2,), "static")
    out = jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, 3.0, *(s.value for s in states))
    np.testing.assert_array_equal(out[0], [3.0, 3.0])
    assert float(out[1]) == 1.0
    assert make_jaxpr(f, return_only_write=True)(3.0)[1] == (count,)
    assert float(count.value) == 0.0


def test_static_arguments_of_make_jaxpr_and_checkpoint():
    f = lambda x, n, flag=False: jnp.zeros(n) + x * flag  # noqa: E731
    jaxpr, _ = make_jaxpr(f, static_argnums=1, static_argnames="flag")(1.0, 3, flag=True)
    assert len(jaxpr.in_avals) == 1
    assert jaxpr.out_avals[0].shape == (3,)
    assert checkpoint(f, static_argnums=1)(1.0, 3).shape == (3,)
    psum = make_jaxpr(lambda x: jax.lax.psum(x, "i"), axis_env=[("i", 4)])(1.0)[0]
    assert "psum" in str(psum)


def test_looking_inside_a_trace():
    cell = Cell()
    out = jit(lambda x: (len(make_jaxpr(cell)(x)[1]), eval_shape(cell, x).shape[0] + x.sum()))
    assert out(jnp.ones(3)) == (3, 6.0)
    np.testing.assert_array_equal(cell.V.value, np.zeros(3))


def test_eval_shape_runs_nothing():
    cell = Cell()
    shape = eval_shape(cell, jnp.ones((5, 3)))
    assert (shape.shape, shape.dtype) == ((5, 3), jnp.float32)
    states, out = eval_shape(
        lambda x: for_loop(cell, x), jnp.ones((4, 3)), return_state_shapes=True
    )
    assert out.shape == (4, 3)
    assert {s: v.shape for s, v in states.items()} == {cell.w: (3,), cell.V: (3,), cell.steps: ()}
    assert eval_shape(lambda *, x: x, x=1.0).shape == ()
    assert cell.steps.value == 0


def test_the_shapes_of_quantities_and_trees():
    import brainunit as u

    state = State({"a": jnp.ones(3) * u.mV, "b": jnp.ones(2)})

    def f():
        state.value = {"a": state.value["a"] * 2, "b": jnp.ones(4)}
        return state.value["a"]

    states, out = eval_shape(f, return_state_shapes=True)
    assert (out.unit, out.mantissa.shape) == (u.mV, (3,))
    assert states[state]["b"].shape == (4,)
    assert states[state]["a"].unit == u.mV


def test_the_plan_of_a_large_network():
    class Large(Module):
        def __init__(self):
            super().__init__()
            self.w = ParamState(jnp.ones((1_000_000, 1_000_000)))
            self.V = ShortTermState(jnp.zeros(1_000_000))

        def update(self, x):
            self.V.value = self.V.value + self.w.value @ x
            return self.V.value

    net = eval_shape(Large)
    assert net.w.value.shape == (1_000_000, 1_000_000)
    assert eval_shape(net, jax.ShapeDtypeStruct((1_000_000,), jnp.float32)).shape == (1_000_000,)
    assert isinstance(net.V.value, jax.ShapeDtypeStruct)
