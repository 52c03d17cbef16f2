"""Every source draws the same number of targets, or every target that of sources."""

from __future__ import annotations

import numpy as np

from ..ops import library
from .base import (
    CSR,
    FixedFanOut,
    check_first_source,
    check_seed,
    count,
    empty,
    selves,
    trusted_fan_out,
)
from .from_arrays import from_arrays


def fixed_num_post(
    n_pre: int,
    n_post: int,
    k: int,
    *,
    seed: int,
    allow_multapses: bool = True,
    allow_autapses: bool = True,
    first_source: int = 0,
) -> FixedFanOut:
    """Draws `k` targets for each source, uniformly and independently; rows come sorted.

    With `allow_multapses=False` the targets of a source differ. With `allow_autapses=False` source
    i does not draw target `first_source + i`, which is itself: see `fixed_prob`. The result depends
    on the arguments alone, not on the machine or its number of threads.

    Errors: ValueError for counts that cannot be had, MemoryError before memory is asked for.

    >>> fixed_num_post(1000, 500, 80, seed=1)
    FixedFanOut(shape=(1000, 500), nnz=80000)
    """
    n_pre, n_post = count("n_pre", n_pre), count("n_post", n_post)
    k, seed = count("k", k, least=0), check_seed(seed)
    first_source = check_first_source(first_source)
    skip_self, distinct = not allow_autapses, not allow_multapses
    alone = selves(n_pre, n_post, first_source) if skip_self else ()
    _check_choices(k, n_post, "n_post", "source", "target", distinct, alone)
    drawn = _drawn(n_pre, n_post, k, seed, skip_self, distinct, first_source)
    return trusted_fan_out(drawn, n_post)


def fixed_num_pre(
    n_pre: int,
    n_post: int,
    k: int,
    *,
    seed: int,
    allow_multapses: bool = True,
    allow_autapses: bool = True,
    first_source: int = 0,
) -> CSR:
    """Draws `k` sources for each target, uniformly and independently: a fixed in-degree.

    Rows hold the targets of each source, sorted, as everywhere. Arguments, errors and what the
    result depends on are those of `fixed_num_post`, with the two sides exchanged; but source i is
    target `first_source + i` here too.

    >>> fixed_num_pre(1000, 500, 80, seed=1)
    CSR(shape=(1000, 500), nnz=40000)
    """
    n_pre, n_post = count("n_pre", n_pre), count("n_post", n_post)
    k, seed = count("k", k, least=0), check_seed(seed)
    first_source = check_first_source(first_source)
    skip_self, distinct = not allow_autapses, not allow_multapses
    alone = selves(n_post, n_pre, -first_source) if skip_self else ()
    _check_choices(k, n_pre, "n_pre", "target", "source", distinct, alone)
    sources = _drawn(n_post, n_pre, k, seed, skip_self, distinct, -first_source)
    targets = empty((n_post, k), np.int32, f"{n_post} x {k} synapses")
    targets[:] = np.arange(n_post, dtype=np.int32)[:, None]
    return from_arrays(sources.reshape(-1), targets.reshape(-1), n_pre, n_post)[0]


def _drawn(rows, choices, k, seed, skip_self, distinct, shift) -> np.ndarray:
    drawn = empty((rows, k), np.int32, f"{rows} x {k} synapses")
    starts = np.arange(rows + 1) * k
    library.native().draw_rows(seed, choices, skip_self, distinct, starts, drawn.reshape(-1), shift)
    return drawn


def _check_choices(k, size, size_name, drawer, drawn, distinct, alone):
    """`alone`: the drawers that are among the `size` themselves, and may not draw that."""
    choices = size - (len(alone) > 0)
    if k > 0 and choices == 0:
        raise ValueError(
            f"{size_name}=1 with allow_autapses=False leaves {drawer} {alone[0]} no {drawn}. "
            "Allow autapses, or k=0."
        )
    if k > choices and distinct:
        raise ValueError(
            f"k={k} different {drawn}s cannot be had from {choices} "
            f"({size_name}={size}{f' without the {drawer} itself' if alone else ''}). Lower k, "
            "or allow_multapses=True."
        )
