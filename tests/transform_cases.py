"""What the tests of transforms share: a small stateful cell, its inputs, a counter of traces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from spikexla import LongTermState, ParamState, ShortTermState
from spikexla.nn import Module
from spikexla.transform import (
    checkpoint,
    checkpointed_for_loop,
    cond,
    for_loop,
    grad,
    hessian,
    ifelse,
    jacfwd,
    jacrev,
    jit,
    jvp,
    scan,
    shard_map,
    switch,
    vector_grad,
    vjp,
    vmap,
    while_loop,
)


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

MESH = jax.make_mesh((1,), ("n",), axis_types=(jax.sharding.AxisType.Auto,))
P = jax.sharding.PartitionSpec


def _summed(f):
    """`f` as a function of (sum, result), to be differentiated with the result beside it."""

    def g(x):
        y = f(x)
        return (y**2).sum(), y

    return g


# Each takes a function of one array and gives one that does the same.
SAME = {
    "jit": jit,
    "scan": lambda f: lambda x: scan(lambda c, x: (c, f(x)), 0, x[None])[1][0],
    "for_loop": lambda f: lambda x: for_loop(f, x[None])[0],
    "checkpointed": lambda f: lambda x: checkpointed_for_loop(f, x[None], base=2)[0],
    "while_loop": lambda f: (
        lambda x: while_loop(lambda v: v[0] < 1, lambda v: (v[0] + 1, f(x)), (0, jnp.zeros(3)))[1]
    ),
    "cond": lambda f: lambda x: cond(x.sum() > -99, f, lambda x: 0 * x, x),
    "switch": lambda f: lambda x: switch(1, [lambda x: 0 * x, f], x),
    "ifelse": lambda f: lambda x: ifelse([x[0] > 99, x[0] <= 99], [lambda x: 0 * x, f], x),
    "checkpoint": checkpoint,
    "vmap": lambda f: lambda x: vmap(lambda _: f(x))(jnp.zeros(2))[1],
    "shard_map": lambda f: shard_map(f, MESH, P(), P()),
    "grad": lambda f: lambda x: grad(_summed(f), has_aux=True)(x)[1],
    "vector_grad": lambda f: lambda x: vector_grad(f, return_value=True)(x)[1],
    "jacrev": lambda f: lambda x: jacrev(f, return_value=True)(x)[1],
    "jacfwd": lambda f: lambda x: jacfwd(f, return_value=True)(x)[1],
    "hessian": lambda f: lambda x: hessian(_summed(f), has_aux=True)(x)[1],
    "vjp": lambda f: lambda x: vjp(f, x)[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (x,))[0],
}


def has_meaning(outer, inner):
    """jax has no reverse mode for loops of unknown length, and splits an axis of a mesh once."""
    reverse = {"grad", "vector_grad", "jacrev", "vjp", "hessian"}
    return (outer not in reverse or inner != "while_loop") and (outer, inner) != ("shard_map",) * 2
