"""The numbers of optimisers are those of optax and of braintools."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optim_cases import CASES, W, drive, start
from spikexla import ParamState, optim
from spikexla.transform import jit


@pytest.mark.sampled(18)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("compiled", [False, True])
def test_the_numbers_are_those_of_optax(name, compiled):
    jax.config.update("jax_enable_x64", True)
    make, tx, _ = CASES[name]
    params = start()
    optimizer = make().register_trainable_weights(params)
    update = jit(lambda grads: optimizer.update(grads)) if compiled else optimizer.update
    values = {"w": jnp.asarray(W), "b": jnp.ones(2)}
    memory = tx.init(values)
    for k in range(5):
        update(drive(k))
        changes, memory = jax.jit(tx.update)(drive(k), memory, values)
        values = optax.apply_updates(values, changes)
    for key, state in params.items():
        assert state.value.dtype == jnp.float64
        # Compiled whole or in parts, sums may differ in the last bits.
        np.testing.assert_allclose(state.value, values[key], rtol=1e-12, atol=1e-13)
    assert int(optimizer.step_count.value) == 5
    if not compiled:
        (programs,) = optimizer.__dict__["_compiled"]._programs.values()
        assert [p.run._cache_size() for p in programs] == [1]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is not None])
def test_the_numbers_are_those_of_braintools(name):
    jax.config.update("jax_enable_x64", True)
    make, _, expected = CASES[name]
    w = ParamState(jnp.asarray(W))
    optimizer = make().register_trainable_weights({"w": w})
    for k in range(5):
        optimizer.update({"w": drive(k)["w"]})
    np.testing.assert_allclose(w.value.ravel(), expected, rtol=1e-6)


def test_the_list_here_is_complete():
    kinds = {c for c in vars(optim).values() if inspect.isclass(c) and c is not optim.Optimizer}
    kinds = {c.__name__ for c in kinds if issubclass(c, optim.Optimizer)}
    assert {name.split()[0] for name in CASES} - {"clipped"} == kinds
    assert all(getattr(optim, name).__doc__ for name in kinds)
