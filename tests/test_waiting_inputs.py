"""An input that waits for a step acts once, in that step, or is an error that says why not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import transform

GIVE = {
    "current": lambda n, x: n.add_current_input("x", x),
    "delta": lambda n, x: n.add_delta_input("x", x),
}
LEFT, OUTSIDE = "for its next step", "was given outside of what is compiled"


@pytest.fixture
def neuron(dt):
    neuron = sx.LIF(2)
    sx.nn.init_all_states(neuron)
    return neuron


@pytest.mark.parametrize("give", GIVE.values(), ids=GIVE)
def test_an_input_and_the_step_that_takes_it_may_be_compiled_together(give, neuron):
    def step(x):
        give(neuron, x)
        neuron(0.0)
        return neuron.V.value

    inputs = jnp.array([0.3, 0.0, 0.2])
    by_hand = np.stack([step(x) for x in inputs])
    for run in (
        lambda: transform.for_loop(step, inputs),
        lambda: [*map(transform.jit(step), inputs)],
    ):
        sx.nn.init_all_states(neuron)
        np.testing.assert_allclose(np.stack(run()), by_hand, rtol=1e-6)


TAKEN = {  # by something that may run the step more than once, or not at all
    "for_loop": lambda n: transform.for_loop(lambda _: n(0.0), jnp.arange(3)),
    "jit": lambda n: transform.jit(lambda: n(0.0))(),
    "cond": lambda n: transform.cond(True, lambda: n(0.0), lambda: n(0.1)),
    "while_loop": lambda n: transform.while_loop(lambda k: k < 2, lambda k: (n(0.0), k + 1)[1], 0),
    "grad": lambda n: transform.grad(lambda x: n(x).sum())(0.1),
}


@pytest.mark.parametrize("give", GIVE.values(), ids=GIVE)
@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN)
def test_an_input_from_outside_is_not_taken_by_what_is_compiled(give, take, neuron):
    give(neuron, 0.3)
    with pytest.raises(sx.TraceError, match=OUTSIDE):
        take(neuron)
    neuron(0.0)  # it is still there
    assert np.all(neuron.V.value > 0)


@pytest.mark.parametrize("give", GIVE.values(), ids=GIVE)
@pytest.mark.parametrize("within", ["jit", "for_loop", "cond", "grad", "remat"])
def test_an_input_is_not_left_by_what_is_compiled(give, within, neuron):
    def leave(x):
        give(neuron, x)
        return x

    one = jnp.float32(1.0)
    run = {
        "jit": lambda: transform.jit(leave)(one),
        "for_loop": lambda: transform.for_loop(leave, one[None]),
        "cond": lambda: transform.cond(True, leave, lambda x: x, one),
        "grad": lambda: transform.grad(leave)(one),
        "remat": lambda: transform.jit(lambda: transform.checkpoint(leave)(one))(),
    }[within]
    with pytest.raises(sx.TraceError, match=LEFT):
        run()
    neuron(0.0)
    np.testing.assert_array_equal(neuron.V.value, 0)


def test_shapes_of_a_part_of_a_step_may_be_asked(neuron):
    asked = transform.eval_shape(lambda x: neuron.add_current_input("x", x), jnp.ones(2))
    assert asked is None
    transform.make_jaxpr(lambda x: neuron.add_current_input("x", x))(jnp.ones(2))
    neuron(0.0)
    np.testing.assert_array_equal(neuron.V.value, 0)


def test_a_trace_that_fails_leaves_no_input(neuron):
    def fails(x):
        neuron.add_current_input("x", x)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        transform.jit(fails)(1.0)
    neuron(0.0)
    assert not any(isinstance(x, jax.core.Tracer) for x in (neuron.V.value,))
    np.testing.assert_array_equal(neuron.V.value, 0)
