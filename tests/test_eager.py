"""Outside of `jax.jit`, an op and its gradient are compiled by the first call alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from spikexla.connect import fixed_num_post
from spikexla.ops import neuron_scan, neuron_step, reset, spike_matvec

CASE = CASES[0]
STATE, PARAMS, INPUTS = CASE.draw(5, 6, dtype=np.float32)
NOW = jax.tree.map(lambda x: x[0], INPUTS)
CONN = fixed_num_post(5, 7, 3, seed=1)
ONES = jnp.ones(5)

CALLS = {
    "neuron_step": lambda x: neuron_step(CASE.kernel, STATE, PARAMS, NOW._replace(I=x))[0].V,
    "neuron_scan": lambda x: neuron_scan(CASE.kernel, STATE, PARAMS, INPUTS._replace(I=x))[1],
    "spike_matvec": lambda x: spike_matvec(CONN, x, ONES),
    "reset": lambda x: reset([ONES, ONES], [x, 0.0])[0],
}
ARGUMENTS = {"neuron_step": NOW.I, "neuron_scan": INPUTS.I, "spike_matvec": 0.5, "reset": 2.0}


@pytest.fixture
def compilations():
    """The list of what XLA compiled since the test began."""
    seen = []

    def note(event, *_, **__):
        if event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    jax.jit(lambda: jnp.ones(3) + 1)()
    assert seen, "nothing is counted"
    yield seen
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_second_call_compiles_nothing(name, gradient, compilations):
    call, x = CALLS[name], ARGUMENTS[name]
    run = jax.grad(lambda x: call(x).sum()) if gradient else call
    first = run(x)
    compilations.clear()
    np.testing.assert_array_equal(run(x), first)
    assert compilations == []
