"""Transforms within transforms: any pair of them, also of a kind with itself, changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
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
from transform_cases import Cell

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
X = jnp.asarray([0.3, -0.2, 0.7])


def has_meaning(outer, inner):
    """jax has no reverse mode for loops of unknown length, and splits an axis of a mesh once."""
    reverse = {"grad", "vector_grad", "jacrev", "vjp", "hessian"}
    return (outer not in reverse or inner != "while_loop") and (outer, inner) != ("shard_map",) * 2


PAIRS = [(a, b) for a in SAME for b in SAME if has_meaning(a, b)]


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_a_pair_of_transforms_changes_nothing(outer, inner):
    plain, cell = Cell(), Cell()
    for c in (plain, cell):
        c.steps.value = jnp.zeros((), jnp.int32)
    run = SAME[outer](SAME[inner](lambda x: cell(x)))
    for _ in range(2):
        np.testing.assert_allclose(run(X), plain(X), rtol=1e-6)
    np.testing.assert_allclose(cell.V.value, plain.V.value, rtol=1e-6)
    assert int(cell.steps.value) == 2
    assert cell.V._frame is None
    assert not isinstance(cell.V.value, jax.core.Tracer)


@pytest.mark.parametrize("way", SAME)
def test_an_exception_leaves_every_state_as_it_was(way):
    cell = Cell()
    before = cell.V.value, cell.steps.value

    def fails(x):
        cell(x)
        raise RuntimeError("stop")

    for wrap in (lambda f: f, jit):
        with pytest.raises(RuntimeError, match="stop"):
            wrap(SAME[way](fails))(X)
        assert cell.V.value is before[0]
        assert cell.steps.value is before[1]
        assert cell.V._frame is None
    np.testing.assert_allclose(SAME[way](lambda x: cell(x))(X), 0.5 * X, rtol=1e-6)


@pytest.mark.parametrize("way", [way for way in SAME if way not in ("vmap", "shard_map")])
def test_random_numbers_are_those_of_the_plain_function(way):
    run = SAME[way](lambda x: sx.random.rand(3) + 0 * x)
    sx.random.seed(5)
    found = [run(X), run(X), sx.random.rand(3)]
    sx.random.seed(5)
    np.testing.assert_array_equal(found, [sx.random.rand(3) for _ in range(3)])
