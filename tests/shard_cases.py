"""Transforms inside `shard_map`, on the cut part of inputs and States, beside a plain call."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from spikexla.transform import shard_map
from transform_cases import SAME, Cell, has_meaning

SHARDED = [name for name in SAME if name != "shard_map"]  # an axis of a mesh is split once
CHAINS = [(name,) for name in SHARDED]
CHAINS += [(a, b) for a in SHARDED for b in SHARDED if has_meaning(a, b)]


def check_on_shards(chains: Sequence[tuple[str, ...]], x: jax.Array, *, explicit: bool) -> None:
    """Each chain of transforms, the outermost first, does on shards what the cell does alone.

    All are part of one program, so that one compilation serves them.
    """
    kind = AxisType.Explicit if explicit else AxisType.Auto
    mesh = jax.make_mesh((2,), ("n",), axis_types=(kind,))
    cells = [_cell(x.size) for _ in chains]
    plain = _cell(x.size)

    def run(x: jax.Array) -> list[jax.Array]:
        return [_wrapped(chain, cell)(x) for chain, cell in zip(chains, cells, strict=True)]

    cut = PartitionSpec("n")
    specs = {cell.V: cut for cell in cells}
    found = shard_map(run, mesh, cut, cut, state_in_specs=specs)(x)
    expected = plain(x)
    for chain, cell, y in zip(chains, cells, found, strict=True):
        where = f"{' of '.join(chain)}, {kind.name}"
        np.testing.assert_allclose(y, expected, rtol=1e-6, err_msg=where)
        np.testing.assert_allclose(cell.V.value, plain.V.value, rtol=1e-6, err_msg=where)
        assert int(cell.steps.value) == 1, where


def _cell(n: int) -> Cell:
    """A cell whose potential is cut, and whose weight and count are on every shard."""
    cell = Cell(n)
    cell.w.value, cell.steps.value = jnp.asarray(0.5), jnp.zeros((), jnp.int32)
    return cell


def _wrapped(chain: tuple[str, ...], cell: Cell):
    def f(x):
        return cell(x)

    for name in reversed(chain):
        f = SAME[name](f)
    return f
