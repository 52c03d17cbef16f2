"""What differs from lane to lane of a `vmap` beside the keys of a `RandomState`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..state import LEAF, ShortTermState, State


class Lane(State):
    """The number of the lane that reads it, also in nested ones unique; 0 outside of `vmap`."""

    __slots__ = ()

    def split_raw(self, n: int) -> jax.Array:
        """The numbers of the n lanes within this one."""
        return jnp.asarray(self.value) * jnp.uint32(n) + jnp.arange(n, dtype=jnp.uint32)


def _unstarted() -> Lane:
    """Made by numpy: jax's devices are not started for it."""
    lane = Lane.__new__(Lane)
    lane.__setstate__({"value": [], "name": "random.LANE", "tag": None, "attributes": {}})
    lane._raw, lane._tree = np.zeros((), np.uint32), LEAF
    return lane


LANE = _unstarted()


class Generators(ShortTermState):
    """Words of generators, uint32, that lanes of `vmap` do not share.

    Where it is not mapped, each lane starts from words of its own: lane 0 from these, and the
    State goes on from words that no lane has had.
    """

    __slots__ = ()

    def split_raw(self, n: int) -> jax.Array:
        """The words of n lanes."""
        words = jnp.asarray(self.value)
        lanes = apart(words, jnp.arange(n + 1, dtype=jnp.uint32))
        self.value = lanes[n]
        return lanes[:n]


def apart(words: jax.Array, numbers: Any) -> jax.Array:
    """Words for each of `numbers`, `(*numbers.shape, *words.shape)`: those of 0 are `words`.

    The others are `words` under a pad that threefry draws from their first two and the number.
    """
    key = jax.random.wrap_key_data(words.reshape(-1)[:2], impl="threefry2x32")

    def one(number: jax.Array) -> jax.Array:
        pad = jax.random.bits(jax.random.fold_in(key, number), words.shape, jnp.uint32)
        return jnp.where(number == 0, words, words ^ pad)

    flat = jax.vmap(one)(jnp.asarray(numbers, jnp.uint32).reshape(-1))
    return flat.reshape(*jnp.shape(numbers), *words.shape)
