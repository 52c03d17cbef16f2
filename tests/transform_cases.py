"""What the tests of transforms share: a small stateful cell, its inputs, a counter of traces."""

import functools

import jax.numpy as jnp
import numpy as np
from spikexla import LongTermState, ParamState, ShortTermState
from spikexla.nn import Module


class Cell(Module):
    def __init__(self, n=3):
        super().__init__()
        self.w = ParamState(jnp.full(n, 0.5))
        self.V = ShortTermState(jnp.zeros(n))
        self.steps = LongTermState(0)

    def update(self, x):
        self.V.value = 0.9 * self.V.value + self.w.value * x
        self.steps.value += 1
        return self.V.value


def count_traces(f):
    """`f`, and a list that grows each time Python runs it."""
    runs = []

    @functools.wraps(f)
    def counted(*args, **kwargs):
        runs.append(1)
        return f(*args, **kwargs)

    return counted, runs


def eagerly(cell, xs):
    return jnp.stack([cell(x) for x in xs])


XS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
