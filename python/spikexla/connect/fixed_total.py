"""A given number of synapses in all."""

from __future__ import annotations

import numpy as np

from ..ops import library
from .base import (
    CSR,
    check_first_source,
    check_seed,
    count,
    empty,
    selves,
    total_count,
    trusted_csr,
)


def fixed_total(
    n_pre: int,
    n_post: int,
    total: int,
    *,
    seed: int,
    allow_autapses: bool = True,
    allow_multapses: bool = True,
    first_source: int = 0,
) -> CSR:
    """Draws `total` pairs (source, target) uniformly and independently; rows come sorted.

    With `allow_multapses=False` the pairs differ: every set of `total` pairs is equally likely.
    With `allow_autapses=False` pairs (i, first_source + i) are left out: see `fixed_prob`. The
    numbers of synapses of the sources are drawn first, then the targets of each. The result depends
    on the arguments alone, not on the machine or its number of threads.

    Errors: ValueError for a `total` that cannot be had, MemoryError before memory is asked for.

    >>> fixed_total(1000, 500, 80_000, seed=1)
    CSR(shape=(1000, 500), nnz=80000)
    """
    n_pre, n_post, seed = count("n_pre", n_pre), count("n_post", n_post), check_seed(seed)
    total = total_count("total", total)
    first_source, skip_self = check_first_source(first_source), not allow_autapses
    alone = selves(n_pre, n_post, first_source) if skip_self else range(0)
    widths = checked_widths(n_pre, n_post, total, alone, allow_multapses)
    targets = empty((total,), np.int32, f"{total} synapses")
    indptr = row_starts(seed, widths, total, allow_multapses)
    library.native().draw_rows(
        seed, n_post, skip_self, not allow_multapses, indptr, targets, first_source
    )
    return trusted_csr(indptr, targets, n_post)


def checked_widths(
    n_pre: int, n_post: int, total: int, alone: range, multapses: bool
) -> np.ndarray:
    """The number of targets that each source may have; raises if `total` cannot be drawn.

    alone: the sources that are among the targets and may not reach themselves.
    """
    widths = np.full(n_pre, n_post, np.int64)
    widths[alone.start : alone.stop] -= 1
    pairs = int(widths.sum())
    if total > 0 and widths.min() == 0:
        raise ValueError(
            f"n_post=1 with allow_autapses=False leaves source {alone[0]} no target. Allow "
            "autapses, or total=0."
        )
    if total > pairs and not multapses:
        raise ValueError(
            f"total={total} different pairs cannot be had from {pairs} (n_pre={n_pre}, "
            f"n_post={n_post}{', without autapses' if alone else ''}). Lower total, or "
            "allow_multapses=True."
        )
    return widths


def row_starts(seed: int, widths: np.ndarray, total: int, multapses: bool) -> np.ndarray:
    """The starts of rows that share `total` uniform pairs, `widths[i]` of them in row i."""
    # RandomState, for numpy has frozen its draws and may change those of Generator.
    rng = np.random.RandomState(np.random.Philox(key=seed))
    indptr = np.zeros(widths.size + 1, np.int64)
    np.cumsum(_row_sizes(rng, widths, total, multapses), out=indptr[1:])
    return indptr


def _row_sizes(rng, widths: np.ndarray, total: int, multapses: bool) -> np.ndarray:
    """How many of `total` uniform pairs each source gets, in O(n_pre + sqrt(total)).

    Sources draw independently of each other, Poisson numbers for pairs that may repeat and binomial
    ones for a set. Given their sum both have the law that is wanted for that sum; as many uniform
    pairs as are too many or missing are then taken away or added.
    """
    pairs = widths.sum()
    if multapses:
        sizes = rng.poisson(widths * (total / pairs))
    else:
        sizes = rng.binomial(widths, total / pairs)
    excess = int(sizes.sum()) - total
    if excess > 0:
        return sizes - _distinct_in_rows(rng, sizes, excess)
    if multapses:
        ends = np.cumsum(widths)
        rows = np.searchsorted(ends, rng.randint(0, ends[-1], -excess, np.int64), side="right")
        return sizes + np.bincount(rows, minlength=sizes.size)
    return sizes + _distinct_in_rows(rng, widths - sizes, -excess)


def _distinct_in_rows(rng, sizes: np.ndarray, number: int) -> np.ndarray:
    """How many of `number` different ones, drawn from sum(sizes) things, lie in each row."""
    ends = np.cumsum(sizes)
    chosen = np.zeros(0, np.int64)
    while chosen.size < number:  # a repeated one is dropped and drawn anew
        more = rng.randint(0, ends[-1], number - chosen.size, np.int64)
        chosen = np.union1d(chosen, more)
    return np.bincount(np.searchsorted(ends, chosen, side="right"), minlength=sizes.size)
