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


def generators(key: Any, n: int) -> jax.Array:
    """Generators for `n` neurons, uint32 (ceil(n / 64), 4, 16), from a key of `jax.random`."""
    return jax.random.bits(key, (-(-n // 64), 4, 16), jnp.uint32)


def poisson_thresholds(events: float) -> np.ndarray:
    """c_j = P(K <= j) 2^32 for a mean of `events`: uint32, up to where 2^-33 is left.

    Errors: ValueError for a mean that is negative, not finite or above 60.
    """
    if not 0 <= events <= MOST_EVENTS:
        raise ValueError(
            f"a Poisson input has {events} events a step; 0 to {MOST_EVENTS:.0f} are possible. "
            "Take a smaller dt, several inputs of a part of the rate, or a constant current."
        )
    most = int(events + 12 * math.sqrt(events) + 40)
    j = np.arange(most)
    log_p = -events + j * math.log(max(events, 1e-300)) - np.array([math.lgamma(k + 1) for k in j])
    tail = np.cumsum(np.exp(log_p)[::-1])[::-1]  # P(K >= j), from the small ones up
    below = np.minimum(np.floor((1 - np.append(tail[1:], 0)) * 2.0**32), 2.0**32 - 1)
    needed = int(np.count_nonzero(tail >= 2.0**-33))
    return below[: max(needed, 1)].astype(np.uint32)


def poisson_counts(rng: jax.Array, thresholds: Any, n: int) -> tuple[jax.Array, jax.Array]:
    """(the generators one step on, the counts of `n` neurons as int32)."""
    s0, s1, s2, s3 = (rng[:, k] for k in range(4))
    thresholds, counts = jnp.asarray(thresholds, jnp.uint32), []
    for _ in range(4):
        word = _rotated(s0 + s3, 7) + s0
        counts.append((word[..., None] >= thresholds).sum(-1, dtype=jnp.int32))
        t = s1 << 9
        s2, s3 = s2 ^ s0, s3 ^ s1
        s1, s0 = s1 ^ s2, s0 ^ s3
        s2, s3 = s2 ^ t, _rotated(s3, 11)
    return jnp.stack([s0, s1, s2, s3], 1), jnp.stack(counts, 1).reshape(-1)[:n]


def _rotated(x: jax.Array, k: int) -> jax.Array:
    return x << k | x >> (32 - k)
