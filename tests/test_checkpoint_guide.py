"""Checkpoints as the guide to brainpy.state writes and reads them."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import spikexla as sx
from checkpoint_cases import Net, assert_same, learner, train, values
from spikexla import LongTermState, ParamState


def test_the_guides_own_files(tmp_path):
    """Blocks 21, 22 and 26 as they are written, and `load_checkpoint` of what they write."""
    net, optimizer = learner(0.1)
    train(net, optimizer, 2)
    state_dict = {
        "params": net.states(ParamState),
        "long_term": net.states(LongTermState),
        "epoch": 2,
        "optimizer_state": optimizer.state_dict(),
        "config": {"lr": 0.1},
        "timestamp": datetime.datetime.now(),
    }
    path = tmp_path / "checkpoint.pkl"
    with open(path, "wb") as f:
        pickle.dump(state_dict, f)

    with open(path, "rb") as f:
        state_dict = pickle.load(f)
    fresh, fresh_optimizer = learner(0.1)
    for name, param_state in state_dict["params"].items():
        net_params = fresh.states(ParamState)
        if name in net_params:
            net_params[name].value = param_state.value
    fresh_optimizer.load_state_dict(state_dict["optimizer_state"])
    twin, twin_optimizer = learner(0.1)
    about = sx.load_checkpoint(path, twin, twin_optimizer)
    assert (about["epoch"], about["config"]) == (2, {"lr": 0.1})
    assert_same(values(optimizer), values(fresh_optimizer))
    assert_same(values(optimizer), values(twin_optimizer))
    assert int(twin.seen.value) == 2

    with open(path, "wb") as f:
        pickle.dump({"params": net.states(ParamState)}, f)
    only = Net()
    sx.load_checkpoint(path, only)
    np.testing.assert_array_equal(only.W.value, net.W.value)


def test_the_guides_code_reads_our_files(tmp_path):
    """Block 22 on what `save_checkpoint` of blocks 23 to 25 writes."""
    net, optimizer = learner(0.1)
    train(net, optimizer, 2)
    for epoch in range(2):
        sx.save_checkpoint(net, optimizer, epoch, tmp_path / f"checkpoint_epoch_{epoch}.pkl")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint_epoch_0.pkl",
        "checkpoint_epoch_1.pkl",
    ]
    with open(tmp_path / "checkpoint_epoch_1.pkl", "rb") as f:
        state_dict = pickle.load(f)
    twin = Net()
    for name, param_state in state_dict["params"].items():
        twin.states(ParamState)[name].value = param_state.value
    assert (state_dict["epoch"], state_dict["long_term"]["seen"].value) == (1, 2)
    np.testing.assert_array_equal(twin.W.value, net.W.value)
