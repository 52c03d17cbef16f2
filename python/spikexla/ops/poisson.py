"""Poisson spike counts from explicit generators; csrc/cpu/poisson.h repeats the mathematics.

16 generators xoshiro128++ (Blackman & Vigna 2021, "Scrambled linear pseudorandom number
generators") serve a group of 64 neurons in four rounds: neuron i takes round (i % 64) // 16 of lane
i % 16. The count is the number of thresholds that the word reaches.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOST_EVENTS = 60.0  # a step: beyond, a table of thresholds is the wrong way


def generators(seed: int, n: int) -> np.ndarray:
    """Generators for `n` neurons, uint32 (ceil(n / 64), 4, 16), from a seed."""
    words = np.random.Philox(key=seed).random_raw(-(-n // 64) * 32)
    return words.astype("<u8").view("<u4").reshape(-1, 4, 16)


def poisson_thresholds(mean: float) -> np.ndarray:
    """c_j = P(K <= j) 2^32 for j = 0 ... L - 1, ascending uint32; nothing for a mean of 0.

    L is the least with P(K >= L) < 2^-33. The mean is at most MOST_EVENTS.
    """
    if mean == 0:
        return np.zeros(0, np.uint32)
    below, term, levels = 0.0, math.exp(-mean), []
    while 1 - below >= 2.0**-33:
        below += term
        levels.append(below)
        term *= mean / len(levels)
    return np.minimum(np.floor(np.array(levels) * 2.0**32), 2**32 - 1).astype(np.uint32)


def poisson_counts(rng: jax.Array, thresholds: Any, n: int) -> tuple[jax.Array, jax.Array]:
    """(the generators one step on, the counts of `n` neurons as int32), with leading batch axes."""
    s0, s1, s2, s3 = (rng[..., k, :] for k in range(4))
    thresholds, counts = jnp.asarray(thresholds, jnp.uint32), []
    for _ in range(4):
        word = _rotated(s0 + s3, 7) + s0
        counts.append((word[..., None] >= thresholds).sum(-1, dtype=jnp.int32))
        t = s1 << jnp.uint32(9)
        s2, s3 = s2 ^ s0, s3 ^ s1
        s1, s0 = s1 ^ s2, s0 ^ s3
        s2, s3 = s2 ^ t, _rotated(s3, 11)
    events = jnp.stack(counts, -2).reshape(*rng.shape[:-3], -1)[..., :n]
    return jnp.stack([s0, s1, s2, s3], -2), events


def _rotated(x: jax.Array, k: int) -> jax.Array:
    return x << jnp.uint32(k) | x >> jnp.uint32(32 - k)
