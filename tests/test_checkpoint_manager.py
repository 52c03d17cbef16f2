"""Folders of several checkpoints: the last and the best are kept."""

from __future__ import annotations

import subprocess
import sys

import jax.numpy as jnp
import pytest
from checkpoint_cases import Net, assert_same, learner, train, values
from spikexla import checkpoint
from spikexla.checkpoint import Manager


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("background", [False, True])
def test_the_last_and_the_best_are_kept(tmp_path, mode, background):
    net, optimizer = learner()
    losses = [3.0, 1.0, float("nan"), 2.0, 5.0, 4.0]
    metrics = losses if mode == "min" else [-loss for loss in losses]
    options = {"keep": 2, "best": "loss", "mode": mode, "background": background}
    with Manager(tmp_path, net, optimizer, **options) as manager:
        for step, loss in enumerate(metrics):
            net.b.value = jnp.full(2, float(step))
            manager.save(step * 10, metrics={"loss": loss}, metadata={"step": step})
        manager.wait()
        assert manager.steps == [10, 40, 50]
        assert (manager.latest_step, manager.best_step) == (50, 10)
    twin, twin_optimizer = learner()
    with Manager(tmp_path, twin, twin_optimizer, best="loss", mode=mode) as manager:
        assert manager.restore("best") == (10, {"step": 1}, {"loss": metrics[1]})
        assert float(twin.b.value[0]) == 1.0
        assert manager.restore().step == 50
        assert float(twin.b.value[0]) == 5.0
        assert manager.restore(40).metadata == {"step": 4}
        with pytest.raises(FileNotFoundError, match=r"no checkpoint 20 .* are \[10, 40, 50\]"):
            manager.restore(20)


def test_background_saves_are_of_the_moment(tmp_path):
    net, optimizer = learner(0.1)
    with Manager(tmp_path, net, optimizer, keep=5, full=True, background=True) as manager:
        kept = []
        for step in range(5):
            kept.append(values(net, optimizer))
            manager.save(step)
            train(net, optimizer, 2)  # gives the memory of the states away
        for step in range(5):
            manager.restore(step)
            assert_same(values(net, optimizer), kept[step])


def test_what_a_manager_refuses(tmp_path):
    net = Net()
    with Manager(tmp_path / "a", net, best="loss") as manager:
        with pytest.raises(ValueError, match="chosen by 'loss'"):
            manager.save(0)
        manager.save(0, metrics={"loss": 1.0})
        with pytest.raises(ValueError, match="step 0 is in"):
            manager.save(0, metrics={"loss": 1.0})
        with pytest.raises(TypeError, match="metadata holds"):
            manager.save(1, metrics={"loss": 1.0}, metadata={"f": print})
        assert manager.steps == [0]
    with Manager(tmp_path / "a", net, read_only=True) as manager:
        assert manager.restore().step == 0
        with pytest.raises(ValueError, match="read_only"):
            manager.save(1)
        with pytest.raises(ValueError, match="knows no metric"):
            manager.restore("best")
    with pytest.raises(ValueError, match="keep and keep_best must be 1 or more"):
        Manager(tmp_path / "a", net, keep=0)
    with pytest.raises(ValueError, match="mode must be"):
        Manager(tmp_path / "a", net, mode="least")
    with pytest.raises(TypeError, match="net must be a Module"):
        Manager(tmp_path / "a", {"W": net.W})
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="checkpoints need a folder"):
        Manager(tmp_path / "file", net)


def test_orbax_is_loaded_for_folders_only(tmp_path, monkeypatch):
    code = (
        "import sys, spikexla as sx; from spikexla import nn, ParamState\n"
        "import jax.numpy as jnp\n"
        "class Net(nn.Module):\n"
        "    def __init__(self): super().__init__(); self.w = ParamState(jnp.ones(2))\n"
        f"sx.save_checkpoint(Net(), None, 0, {str(tmp_path / 'a.pkl')!r})\n"
        "print([m for m in ('orbax', 'optax', 'tensorstore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"pip install 'spikexla\[all\]'"):
        checkpoint.save(tmp_path / "a", Net())
