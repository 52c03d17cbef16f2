"""Modules of the guide that the tests of its checklist share."""

from __future__ import annotations

import jax.numpy as jnp
import spikexla as sx
from spikexla import LongTermState, ParamState, ShortTermState
from spikexla.nn import Module


class Layer(Module):
    """B2."""

    def __init__(self, n_in=3, n_out=2):
        super().__init__()
        self.W = ParamState(sx.random.randn(n_in, n_out) * 0.1)
        self.b = ParamState(jnp.zeros(n_out))

    def update(self, x):
        return jnp.dot(x, self.W.value) + self.b.value


class Counter(Module):
    """B3 and B4: dynamics that a trial resets, and statistics that it does not."""

    def __init__(self, size=3):
        super().__init__()
        self.size = size
        self.V = ShortTermState(jnp.zeros(size))
        self.spike = ShortTermState(jnp.zeros(size))
        self.total = LongTermState(jnp.zeros(size, dtype=jnp.int32))

    def reset_state(self, batch_size=None):
        shape = (self.size,) if batch_size is None else (batch_size, self.size)
        self.V.value = jnp.full(shape, -65.0)
        self.spike.value = jnp.zeros(shape)

    def update(self, x):
        self.V.value = self.V.value + x
        self.spike.value = (self.V.value > -60.0).astype(jnp.float32)
        self.total.value += self.spike.value.astype(jnp.int32)
        return self.spike.value


class Net(Module):
    """Two layers and a counter, one of them in a list."""

    def __init__(self):
        super().__init__()
        self.layer1 = Layer(4, 3)
        self.rest = [Layer(3, 3), Counter(3)]

    def update(self, x):
        return self.rest[1](self.rest[0](self.layer1(x)))


def names(states):
    return [str(key) for key in states]
