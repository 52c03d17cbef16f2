"""Transforms within transforms: any pair of them, also of a kind with itself, changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.transform import jit
from transform_cases import SAME, Cell, has_meaning

X = jnp.asarray([0.3, -0.2, 0.7])
PAIRS = [(a, b) for a in SAME for b in SAME if has_meaning(a, b)]


@pytest.mark.sampled(60)
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
