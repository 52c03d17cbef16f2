"""Connectivity without chance."""

from __future__ import annotations

import numpy as np

from .base import CSR, FixedFanOut, count, empty, trusted_fan_out
from .fixed_prob import fixed_prob


def one_to_one(n: int) -> FixedFanOut:
    """Connects source i to target i, for `n` of both.

    >>> one_to_one(4).indices.tolist()
    [[0], [1], [2], [3]]
    """
    n = count("n", n)
    targets = empty((n, 1), np.int32, f"{n} synapses")
    targets[:, 0] = np.arange(n, dtype=np.int32)
    return trusted_fan_out(targets, n)


def all_to_all(
    n_pre: int, n_post: int, *, allow_autapses: bool = True, first_source: int = 0
) -> CSR:
    """Connects every source to every target; but with `allow_autapses=False` none to itself.

    first_source: see `fixed_prob`.

    Errors: ValueError for sizes below 1, MemoryError before memory is asked for.

    >>> all_to_all(3, 3, allow_autapses=False).indices.tolist()
    [1, 2, 0, 2, 0, 1]
    """
    flags = {"allow_autapses": allow_autapses, "first_source": first_source}
    return fixed_prob(n_pre, n_post, 1.0, seed=0, **flags)
