"""Pairs are connected with a probability that depends on their distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .base import CSR, check_first_source, check_seed, count, empty, selves, trusted_csr

PAIRS = 1 << 20  # looked at together; part of what the seed means, so never change it


def distance(
    pre: Any,
    post: Any,
    probability: Callable[[np.ndarray], Any],
    *,
    seed: int,
    period: Any = None,
    allow_autapses: bool = True,
    first_source: int = 0,
) -> CSR:
    """Connects each pair independently, with `probability(d)` at the distance d; rows come sorted.

    pre, post: positions, `(n,)` or `(n, axes)`, in one unit of length. probability: a function of
    an array of distances to probabilities in [0, 1]. period: the lengths of a periodic space (one,
    or one an axis), where distances go the short way round; None for an open one. With
    `allow_autapses=False` pairs (i, first_source + i) are left out: see `fixed_prob`.

    Every pair is looked at, so the time grows with `n_pre * n_post`; memory with the synapses. The
    result depends on the arguments alone.

    Errors: ValueError for positions of different axes or not finite, and for a probability outside
    [0, 1], with the distance; MemoryError before memory is asked for.

    >>> x = np.linspace(0.0, 1.0, 5)
    >>> distance(x, x, lambda d: d < 0.3, seed=1, allow_autapses=False).indices.tolist()
    [1, 0, 2, 1, 3, 2, 4, 3]
    """
    pre, post = _positions("pre", pre), _positions("post", post)
    if pre.shape[1] != post.shape[1]:
        raise ValueError(
            f"pre has {pre.shape[1]} axes and post {post.shape[1]}. Give both positions in one "
            "space."
        )
    lengths = None if period is None else _period(period, pre.shape[1])
    seed, n_post = check_seed(seed), count("n_post", post.shape[0])
    first_source = check_first_source(first_source)
    indptr, rows = np.zeros(pre.shape[0] + 1, np.int64), []
    for first, far in _blocks(pre, post, lengths):
        chance = _checked(probability, far)
        # RandomState, for numpy has frozen its draws and may change those of Generator.
        key = np.array([seed, first], np.uint64)
        hit = np.random.RandomState(np.random.Philox(key=key)).random_sample(far.shape) < chance
        if not allow_autapses:
            alone = np.array(selves(far.shape[0], n_post, first_source + first), np.int64)
            hit[alone, alone + first_source + first] = False
        indptr[first + 1 : first + 1 + far.shape[0]] = hit.sum(axis=1)
        rows.append(np.nonzero(hit)[1].astype(np.int32))
        if first == 0:
            expected = int(rows[0].size * (pre.shape[0] / far.shape[0]))
            empty((2 * expected,), np.int32, f"about {expected} synapses")
    np.cumsum(indptr, out=indptr)
    targets = empty((int(indptr[-1]),), np.int32, f"{indptr[-1]} synapses")
    np.concatenate(rows, out=targets)
    return trusted_csr(indptr, targets, n_post)


def _blocks(pre, post, lengths) -> Iterator[tuple[int, np.ndarray]]:
    """The first source of each block, and the distances of its sources to all targets."""
    size = max(1, PAIRS // post.shape[0])
    for first in range(0, pre.shape[0], size):
        block, square = pre[first : first + size], 0.0
        for axis in range(pre.shape[1]):
            gap = np.abs(block[:, axis, None] - post[None, :, axis])
            if lengths is not None:
                gap %= lengths[axis]
                gap = np.minimum(gap, lengths[axis] - gap)
            square = square + gap * gap
        yield first, np.sqrt(square)


def _checked(probability, far: np.ndarray) -> np.ndarray:
    chance = np.asarray(probability(far), np.float64)
    if chance.shape not in ((), far.shape):
        raise ValueError(
            f"probability made shape {chance.shape} of distances of shape {far.shape}. Compute one "
            "number for each distance."
        )
    chance = np.broadcast_to(chance, far.shape)
    wrong = ~((chance >= 0.0) & (chance <= 1.0))
    if wrong.any():
        at = np.unravel_index(int(np.argmax(wrong)), far.shape)
        raise ValueError(
            f"probability({far[at]:.6g}) = {chance[at]} is no probability in [0, 1]. Clip it, or "
            "check the unit of the distances."
        )
    return chance


def _positions(name: str, x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}, but positions are (n,) or (n, axes).")
    count(f"n_{name}", x.shape[0])
    if not np.isfinite(x).all():
        i = int(np.argmin(np.isfinite(x).all(axis=1)))
        raise ValueError(f"{name}[{i}] = {x[i]} is not finite. Give every neuron a position.")
    return x


def _period(period: Any, axes: int) -> np.ndarray:
    lengths = np.asarray(period, np.float64)
    if lengths.shape not in ((), (axes,)) or not (lengths > 0).all():
        raise ValueError(
            f"period={period!r} must be one positive length, or one for each of {axes} axes."
        )
    return np.broadcast_to(lengths, (axes,))
