"""Every source draws the same number of targets."""

from __future__ import annotations

import numpy as np

from ..ops import library
from .base import FixedFanOut, check_seed, count, empty, trusted_fan_out


def fixed_num_post(
    n_pre: int,
    n_post: int,
    k: int,
    *,
    seed: int,
    allow_multapses: bool = True,
    allow_autapses: bool = True,
) -> FixedFanOut:
    """Draws `k` targets for each source, uniformly and independently; rows come sorted.

    With `allow_multapses=False` the targets of a source differ. With `allow_autapses=False` source
    i does not draw target i: indices are compared, so sources and targets are one population. The
    result depends on the arguments alone, not on the machine or its number of threads.

    Errors: ValueError for counts that cannot be had, MemoryError before memory is asked for.

    >>> fixed_num_post(1000, 500, 80, seed=1)
    FixedFanOut(shape=(1000, 500), nnz=80000)
    """
    n_pre, n_post = count("n_pre", n_pre), count("n_post", n_post)
    k, seed = count("k", k, least=0), check_seed(seed)
    choices = n_post if allow_autapses else n_post - 1
    if k > 0 and choices == 0:
        raise ValueError(
            "n_post=1 with allow_autapses=False leaves source 0 no target. Allow autapses, or k=0."
        )
    if k > choices and not allow_multapses:
        raise ValueError(
            f"k={k} different targets cannot be had from {choices} "
            f"(n_post={n_post}{'' if allow_autapses else ' without the source itself'}). Lower k, "
            "or allow_multapses=True."
        )
    targets = empty((n_pre, k), np.int32, f"{n_pre} x {k} synapses")
    library.native().fixed_num(seed, n_post, not allow_autapses, not allow_multapses, targets)
    return trusted_fan_out(targets, n_post)
