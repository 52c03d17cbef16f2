"""RandomState: a stream of random numbers, held in a State."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..boxed import Box, Boxed
from ..state import LEAF, State
from .continuous import Continuous
from .discrete import Discrete
from .draw import IMPL, key_data, split


class RandomState(Continuous, Discrete, State):
    """A stream of random numbers: a State that holds a key, and every law to draw from.

    `spikexla.random.DEFAULT` is the one that the functions of `spikexla.random` draw from.  Without
    a seed it starts somewhere new each time.

    >>> stream = RandomState(0)
    >>> stream.normal(size=3).shape, stream.split_key(2).shape
    ((3,), (2,))
    """

    __slots__ = ()

    def __init__(self, seed: int | jax.Array | None = None, name: str | None = None) -> None:
        State.__init__(self, _start(seed), name)

    def seed(self, seed: int | jax.Array | None = None) -> None:
        """Starts the stream again from an integer or a key; somewhere new without one."""
        self.value = _start(seed)

    set_key = seed

    def get_key(self) -> jax.Array:
        """The key that the next draw will split; the stream stays where it is."""
        return jax.random.wrap_key_data(self.value, impl=IMPL)

    def split_raw(self, n: int | None = None) -> jax.Array:
        """The next key, or the next n keys, as unsigned integers."""
        keys = split(self.value, 2 if n is None else n + 1)
        self.value = keys[0]
        return keys[1] if n is None else keys[1:]

    def split_key(self, n: int | None = None) -> jax.Array:
        """The next key of the stream, or the next n keys as an array of keys."""
        return jax.random.wrap_key_data(self.split_raw(n), impl=IMPL)

    def split_keys(self, n: int) -> jax.Array:
        """The next n keys of the stream, as an array of keys."""
        return self.split_key(n)

    def clone(self) -> RandomState:
        """A new stream that will not meet this one; it starts at this one's next key."""
        return RandomState(self.split_key())


def _start(seed: Any) -> Any:
    if seed is not None:
        return key_data(seed)
    return np.random.SeedSequence().generate_state(2).astype(np.uint32)


class DefaultStream(RandomState, Boxed):
    """A stream for the process, and one in each block of `seed_context`.

    Its first key is made by numpy: jax's devices are not started for it.  Copies and pickles of it
    are plain streams that go on from its key.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        Boxed.__init__(self, name, self, Box(_start(None), LEAF))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain, (self.__getstate__(),)

    def __deepcopy__(self, memo: dict) -> RandomState:
        memo[id(self)] = twin = RandomState(self.value, self.name)
        return twin


def _plain(saved: dict[str, Any]) -> RandomState:
    stream = RandomState.__new__(RandomState)
    stream.__setstate__(saved)
    return stream
