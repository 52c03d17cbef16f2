"""What the tests of checkpoints share: a network that learns, and its values."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import spikexla as sx
from spikexla import LongTermState, ParamState, ShortTermState, nn, optim
from spikexla.transform import grad, jit


class Pair(NamedTuple):
    a: jax.Array
    b: jax.Array


class Net(nn.Module):
    def __init__(self, n_in=3):
        super().__init__()
        self.W = ParamState(sx.random.randn(n_in, 2))
        self.b = ParamState(jnp.zeros(2))
        self.seen = LongTermState(0)
        self.V = ShortTermState(jnp.zeros(2))

    def update(self, x):
        self.V.value = 0.9 * self.V.value + x @ self.W.value + self.b.value
        self.seen.value += 1
        return self.V.value + 0.1 * sx.random.randn(2)


def learner(rate=None, n_in=3):
    net = Net(n_in)
    rate = rate or optim.ExponentialLR(0.1, 0.9)
    return net, optim.Adam(rate).register_trainable_weights(net.states(ParamState))


def train(net, optimizer, steps):
    def loss(x):
        return (net(x) ** 2).sum()

    @jit
    def step(x):
        grads, value = grad(loss, net.states(ParamState), return_value=True)(x)
        optimizer.update(grads)
        return value

    losses = []
    for _ in range(steps):
        losses.append(float(step(sx.random.rand(3))))
        if optimizer.lr_scheduler is not None:
            optimizer.lr_scheduler.step()
    return losses


def values(*modules):
    return {
        (k, str(name)): jax.tree.map(np.asarray, state.value)
        for k, module in enumerate(modules)
        for name, state in module.states().items()
    }


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        jax.tree.map(np.testing.assert_array_equal, a[name], b[name])


class Changed(nn.Module):
    def __init__(self, **states):
        super().__init__()
        for name, state in states.items():
            setattr(self, name, state)
