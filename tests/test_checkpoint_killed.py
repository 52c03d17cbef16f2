"""A process that is killed at any moment leaves a whole checkpoint."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import LongTermState, ParamState, nn
from spikexla.checkpoint import Manager

CHILD = """
import sys
from pathlib import Path
import jax.numpy as jnp
import spikexla as sx
from spikexla import checkpoint, nn, ParamState, LongTermState

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.n = LongTermState(0)
        self.w = [ParamState(jnp.zeros(20_000)) for _ in range(4)]

how, where, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
net = Net()
manager = checkpoint.Manager(where, net, keep=2) if how == "manager" else None
for n in range(first, 10**6):
    net.n.value = n
    for w in net.w:
        w.value = jnp.full(20_000, float(n))
    if manager is None:
        sx.save_checkpoint(net, None, n, where)
    else:
        manager.save(n)
    print(n, flush=True)
"""


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.n = LongTermState(0)
        self.w = [ParamState(jnp.zeros(20_000)) for _ in range(4)]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", ["file", "folder", "manager"])
def test_killed_at_any_moment_a_whole_checkpoint_is_left(tmp_path, how):
    path = tmp_path / ("run.pkl" if how == "file" else "run")
    draw = np.random.default_rng(0)
    first = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, how, str(path), str(first)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        written = int(child.stdout.readline())
        time.sleep(draw.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        written = max([written, *map(int, child.stdout.read().split())])
        child.stdout.close()
        child.wait()
        net = Large()
        if how == "manager":
            with Manager(path, net, read_only=True) as manager:
                for step in manager.steps:  # every step that is listed is whole
                    manager.restore(step)
                    assert {float(w.value.min()) for w in net.w} == {float(step)}
        else:
            sx.load_checkpoint(path, net)
        n = int(net.n.value)
        assert n in (written, written + 1)
        assert {(float(w.value.min()), float(w.value.max())) for w in net.w} == {(n, n)}
        first = n + 1
    assert path.exists()
    assert len(list(Path(tmp_path).iterdir())) <= 5  # what a killed save leaves is little
