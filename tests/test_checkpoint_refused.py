"""Checkpoints that do not fit, are damaged or hold code: one clear error, and nothing changes."""

from __future__ import annotations

import gc
import os
import pickle
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checkpoint_cases import Changed, Net, Pair, assert_same, learner, train, values
from spikexla import LongTermState, ParamState, optim
from spikexla.checkpoint import CheckpointError


def saved_net():
    import brainunit as u

    return Changed(
        W=ParamState(jnp.ones((3, 2))),
        b=ParamState(jnp.ones(2)),
        tau=ParamState(jnp.ones(2) * u.ms),
        n=LongTermState(1),
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s: s.pop("b"), "net.b is in the checkpoint, but not here"),
        (lambda s: s.update(c=ParamState(jnp.ones(1))), "net.c is here, but not in the checkpoint"),
        (
            lambda s: s.update(W=ParamState(jnp.ones((3, 4)))),
            r"net.W has shape \(3, 2\) in the checkpoint, and \(3, 4\) here",
        ),
        (
            lambda s: s.update(W=ParamState(jnp.ones((3, 2), jnp.float16))),
            "net.W has dtype float32 in the checkpoint, and float16 here",
        ),
        (
            lambda s: s.update(tau=ParamState(jnp.ones(2))),
            "net.tau has unit ms in the checkpoint, and none here",
        ),
        (
            lambda s: s.update(n=LongTermState(1.0)),
            "net.n has dtype an integer in the checkpoint, and a float here",
        ),
        (
            lambda s: s.update(W=ParamState({"x": jnp.ones((3, 2))})),
            "net.W is in the checkpoint, but not here; net.W.x is here",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_changes(path, change, what):
    sx.save_checkpoint(saved_net(), None, 0, path)
    states = {str(name): state for name, state in saved_net().states().items()}
    for state in states.values():
        state.value = jax.tree.map(lambda x: x * 5, state.value)
    change(states)
    other = Changed(**states)
    before, stream = values(other), sx.random.DEFAULT.value
    with pytest.raises(CheckpointError, match=what):
        sx.load_checkpoint(path, other)
    assert_same(before, values(other))
    np.testing.assert_array_equal(stream, sx.random.DEFAULT.value)


def test_optimisers_that_do_not_fit(path):
    net, optimizer = learner()
    sx.save_checkpoint(net, optimizer, 0, path)
    twin = Net()
    sx.load_checkpoint(path, twin)  # the weights alone
    np.testing.assert_array_equal(twin.W.value, net.W.value)
    other = optim.SGD(0.1).register_trainable_weights(twin.states(ParamState))
    with pytest.raises(ValueError, match=r"memory|scheduler"):
        sx.load_checkpoint(path, twin, other)
    sx.save_checkpoint(net, None, 0, path)
    with pytest.raises(CheckpointError, match="optimi"):
        sx.load_checkpoint(path, net, optimizer)


def damages(data, bytes_changed):
    yield "empty", b""
    yield "cut", data[: len(data) // 2]
    yield "garbage", b"\x00\xff" * 50
    for k in range(0, len(data), max(1, len(data) // bytes_changed)):
        yield f"byte {k}", data[:k] + bytes([data[k] ^ 0x55]) + data[k + 1 :]


def test_a_timestamp_that_is_no_whole_number_is_damage(tmp_path):
    """One flipped bit makes 17956e080... of it, and infinity of that."""
    net, optimizer = learner()
    sx.save_checkpoint(net, optimizer, 2, tmp_path / "run")
    (file,) = (tmp_path / "run").rglob("_CHECKPOINT_METADATA")
    kept = file.read_text()
    spoilt = re.sub(r'("commit_timestamp_nsecs": \d{5})\d', r"\1e", kept)
    assert spoilt != kept
    file.write_text(spoilt)
    with pytest.raises(CheckpointError, match="damaged"):
        sx.load_checkpoint(tmp_path / "run", net, optimizer)


# When one of several reads fails, orbax closes its event loop before the others have come back.
@pytest.mark.sampled(2)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_file_is_one_clear_error(path):
    """Whatever happens to a file of it: the right values or a CheckpointError, never others."""
    net, optimizer = learner()
    train(net, optimizer, 2)
    sx.save_checkpoint(net, optimizer, 2, path, full=True)
    expected = values(net, optimizer)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = 0
    for file in files:
        data = file.read_bytes()
        for what, bad in damages(data, 25 if len(files) == 1 else 6):
            file.write_bytes(bad)
            twin, twin_optimizer = learner()
            before = values(twin, twin_optimizer)
            try:
                sx.load_checkpoint(path, twin, twin_optimizer)
            except (CheckpointError, FileNotFoundError) as error:
                assert str(path) in str(error), what  # noqa: PT017
                assert_same(values(twin, twin_optimizer), before)
                found += 1
            else:
                assert_same(values(twin, twin_optimizer), expected)
        file.write_bytes(data)
    assert found > len(files)
    sx.load_checkpoint(path, net, optimizer)
    time.sleep(0.1)  # so that the last of them come back in this test
    gc.collect()


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked",)


@pytest.mark.parametrize(
    "content", [Attack(), {"params": Attack()}, {"params": {}, "x": os.system}]
)
def test_code_in_a_file_is_not_run(tmp_path, content, capfd):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"names posix.system.*trusted=True"):
        sx.load_checkpoint(path, Net())
    assert "attacked" not in capfd.readouterr().out


def test_a_file_that_is_trusted(tmp_path):
    net, path = Net(), tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"params": net.states(ParamState), "pair": Pair(1, 2)}))
    with pytest.raises(CheckpointError, match=r"names .*\.Pair"):
        sx.load_checkpoint(path, net)
    assert sx.load_checkpoint(path, net, trusted=True)["pair"] == Pair(1, 2)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(CheckpointError, match="holds no dict with 'params'"):
        sx.load_checkpoint(path, net)
