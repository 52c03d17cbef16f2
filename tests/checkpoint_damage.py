"""Ways to spoil a file, and what must hold then: an error that names it, and nothing changes."""

from __future__ import annotations

import pickle

import numpy as np
import spikexla as sx
from checkpoint_cases import assert_same, learner, values
from spikexla.checkpoint import CheckpointError


def spoiled(data, draw, what):
    """The bytes with one or two of them changed, or cut off; never the same bytes."""
    if what == "cut":
        return data[: draw.integers(len(data))]
    new = bytearray(data)
    for at in draw.choice(len(data), {"one": 1, "two": 2}[what], replace=False):
        new[at] ^= int(draw.integers(1, 256))
    return bytes(new)


class Target:
    """A model with an optimiser, and what both were before a file was loaded into them."""

    def __init__(self):
        self.net, self.optimizer = learner()
        self.before = values(self.net, self.optimizer), sx.random.DEFAULT.value

    def now(self):
        return values(self.net, self.optimizer), sx.random.DEFAULT.value

    def refuses(self, path, **options):
        """True where loading is a CheckpointError and changes nothing; False where it succeeds."""
        try:
            sx.load_checkpoint(path, self.net, self.optimizer, **options)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert self.is_as_before()
            return True
        return False

    def is_as_before(self):
        """True; AssertionError where a State has another value."""
        assert_same(self.now()[0], self.before[0])
        np.testing.assert_array_equal(self.now()[1], self.before[1])
        return True


def _learned():
    net, optimizer = learner()
    net.seen.value, net.V.value = 7, net.V.value + 0.5
    optimizer.step_count.value += 3
    return net, optimizer


def saved(path):
    """Writes a checkpoint of a model and its optimiser; their values."""
    net, optimizer = _learned()
    sx.save_checkpoint(net, optimizer, 2, path, full=True)
    return values(net, optimizer)


def as_the_guide_does(path):
    """Writes it as the guide does, without a checksum."""
    net, optimizer = _learned()
    content = {
        "params": net.states(sx.ParamState),
        "long_term": net.states(sx.LongTermState),
        "epoch": 2,
        "optimizer_state": optimizer.state_dict(),
    }
    path.write_bytes(pickle.dumps(content))
