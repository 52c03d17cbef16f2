"""Every pair is connected with the same probability."""

from __future__ import annotations

import math

import numpy as np

from ..ops import library
from .base import CSR, check_first_source, check_seed, count, empty, trusted_csr


def fixed_prob(
    n_pre: int,
    n_post: int,
    p: float,
    *,
    seed: int,
    allow_autapses: bool = True,
    first_source: int = 0,
) -> CSR:
    """Connects each pair (source, target) independently with probability `p`; rows come sorted.

    The work is proportional to the number of synapses: gaps between them are drawn, not pairs. With
    `allow_autapses=False` no neuron reaches itself: source i is target `first_source + i`, if there
    is one. So first_source says where the sources begin among the targets; it is below 0 where they
    begin before them. The result depends on the arguments alone, not on the machine or its number
    of threads.

    Errors: ValueError for a `p` outside [0, 1], MemoryError before memory is asked for.

    >>> fixed_prob(100, 50, 1.0, seed=1)
    CSR(shape=(100, 50), nnz=5000)
    >>> fixed_prob(2, 4, 1.0, seed=1, allow_autapses=False, first_source=1).indices.tolist()
    [0, 2, 3, 0, 1, 3]
    """
    n_pre, n_post, seed = count("n_pre", n_pre), count("n_post", n_post), check_seed(seed)
    try:
        p = float(p)
    except TypeError:
        raise TypeError(f"p={p!r} must be a number in [0, 1].") from None
    if not 0.0 <= p <= 1.0:
        hint = " It looks like a percentage: divide by 100." if 1.0 < p <= 100.0 else ""
        raise ValueError(f"p={p} must be a probability in [0, 1].{hint}")
    first_source = check_first_source(first_source)
    expected = math.floor(n_pre * n_post * p)
    empty((expected,), np.int32, f"about {expected} synapses")  # before half of it is drawn
    native, skip_self = library.native(), not allow_autapses
    indptr = empty((n_pre + 1,), np.int64, f"the starts of {n_pre} rows")
    native.fixed_prob_count(seed, n_post, p, skip_self, indptr, first_source)
    targets = empty((int(indptr[-1]),), np.int32, f"{indptr[-1]} synapses")
    native.fixed_prob_fill(seed, n_post, p, skip_self, indptr, targets, first_source)
    return trusted_csr(indptr, targets, n_post)
