"""Optimisers that are saved, copied and gone on with."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optim_cases import CASES, Layer, drive, start
from spikexla import LongTermState, ParamState, nn, optim


def trained(make, steps):
    params = start()
    optimizer = make().register_trainable_weights(params)
    for k in range(steps):
        optimizer.update(drive(k))
    return params, optimizer


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", CASES)
def test_training_goes_on_where_it_was_saved(name):
    make = CASES[name][0]
    params, optimizer = trained(make, 3)
    saved = pickle.dumps(
        (optimizer.state_dict(), {k: np.asarray(s.value) for k, s in params.items()})
    )
    for k in range(3, 5):
        optimizer.update(drive(k))
    memory, values = pickle.loads(saved)
    again = {k: ParamState(jnp.asarray(v)) for k, v in values.items()}
    resumed = make().register_trainable_weights(again)
    resumed.load_state_dict(memory)
    for k in range(3, 5):
        resumed.update(drive(k))
    for key, state in params.items():
        np.testing.assert_array_equal(state.value, again[key].value)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_an_optimiser_can_be_copied(clone):
    _, optimizer = trained(lambda: optim.Adam(optim.ExponentialLR(0.1, 0.5)), 2)
    twin = clone(optimizer)
    optimizer.update(drive(2))
    assert float(optimizer.params["w"].value[0, 0]) != float(twin.params["w"].value[0, 0])
    twin.update(drive(2))
    np.testing.assert_array_equal(optimizer.params["w"].value, twin.params["w"].value)


def test_what_it_remembers_are_states():
    net = Layer()
    net.optimizer = optim.Adam(0.1).register_trainable_weights(net.states(ParamState))
    kept = net.states(LongTermState)
    assert {"optimizer.step_count", "optimizer.param_groups.0.memory"} <= {*map(str, kept)}
    assert len(net.states(ParamState)) == 2
    nn.init_all_states(net, batch_size=3)
    assert net.W.value.shape == (3, 2)


def test_saved_states_that_do_not_fit():
    _, optimizer = trained(lambda: optim.Adam(0.1), 1)
    saved = optimizer.state_dict()
    smaller = optim.Adam(0.1).register_trainable_weights({"w": ParamState(jnp.ones(2))})
    other = optim.SGD(0.1).register_trainable_weights(start())
    scheduled = optim.Adam(optim.StepLR()).register_trainable_weights(start())
    shaped = {"w": ParamState(jnp.ones((2, 4))), "b": ParamState(jnp.ones(2))}
    wider = optim.Adam(0.1).register_trainable_weights(shaped)
    for target, what in (
        (smaller, r"trains \[\['w', 'b'\]\] and this one \[\['w'\]\]"),
        (other, r"'0.mu.w' is not known here"),
        (scheduled, "the present optimiser has a scheduler and the saved one has none"),
        (wider, r"'0.mu.w' has shape \(2, 3\) where \(2, 4\) is needed"),
    ):
        before = jax.tree.leaves(target.param_groups[0].memory.value)
        with pytest.raises(ValueError, match=what):
            target.load_state_dict(saved)
        assert int(target.step_count.value) == 0
        for x, y in zip(before, jax.tree.leaves(target.param_groups[0].memory.value), strict=True):
            np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match=r"not what optimizer.state_dict\(\) gives: \['lr'\]"):
        optimizer.load_state_dict({"lr": 1.0})
