"""Up to three transforms in one another, on the cut part of inputs and States, change nothing."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from shard_cases import SHARDED, check_on_shards
from transform_cases import has_meaning


def case(rng: np.random.Generator) -> None:
    chain = _draw(rng)
    while not all(has_meaning(*pair) for pair in itertools.combinations(chain, 2)):
        chain = _draw(rng)
    explicit = bool(rng.integers(2))
    check_on_shards([chain], jnp.asarray(rng.normal(size=6), jnp.float32), explicit=explicit)
    jax.clear_caches()


def _draw(rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(map(str, rng.choice(SHARDED, int(rng.integers(1, 4)))))
