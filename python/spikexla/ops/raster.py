"""Spikes as bits: uint32 (steps, ceil(n / 32)), bit i of word w being neuron 32 w + i."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from . import library


def pack_bits(spikes: jax.Array) -> jax.Array:
    """bool (..., size) -> uint32 (..., ceil(size / 32)): bit i of word w is spike 32 w + i."""
    *lead, n = spikes.shape
    bits = jnp.pad(spikes.astype(jnp.uint32), [(0, 0)] * len(lead) + [(0, -n % 32)])
    words = bits.reshape(*lead, -(-n // 32), 32)
    return (words << _places(words.ndim)).sum(-1, dtype=jnp.uint32)


def _places(rank: int) -> jax.Array:
    """0 to 31 along the last of `rank` axes."""
    return jnp.arange(32, dtype=jnp.uint32).reshape((1,) * (rank - 1) + (32,))


def unpack_bits(raster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A raster (steps, words) as the step and the neuron of each spike, int32, in that order."""
    counts, ids = library.native().unpack_bits(np.ascontiguousarray(raster))
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts), ids


def spikes_of(words: jax.Array, n: int) -> jax.Array:
    """The inverse of `pack_bits`: uint32 (..., ceil(n / 32)) -> bool (..., n)."""
    bits = words[..., None] >> _places(words.ndim + 1) & 1
    return bits.reshape(*words.shape[:-1], words.shape[-1] * 32)[..., :n] != 0
