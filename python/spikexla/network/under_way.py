"""Spikes under way: from the histories of projections to those of populations, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..ops.raster import pack_bits, spikes_of


class Sent(NamedTuple):
    """A projection of neurons [low, high) of a population that keeps `steps` steps of spikes."""

    population: int
    low: int
    high: int
    steps: int


def first_to_differ(sources: Sequence[Any], histories: Sequence[Any]) -> int | None:
    """The first projection that knows other spikes than one before it of the same sources.

    They are compared as far back as both go; None where they agree.
    """
    seen: dict[Any, np.ndarray] = {}
    for k, (source, history) in enumerate(zip(sources, histories, strict=True)):
        rows = np.asarray(history)
        known = seen.setdefault(source, rows)
        both = min(len(known), len(rows))
        if not np.array_equal(known[:both], rows[:both]):
            return k
        if len(rows) > len(known):
            seen[source] = rows
    return None


def merged(
    sent: Sequence[Sent], histories: Sequence[jax.Array], sizes: Sequence[int], kept: int
) -> list[jax.Array]:
    """For each population, uint32 (kept, ceil(size / 32)): what its neurons sent."""
    made = []
    for population, n in enumerate(sizes):
        furthest: dict[tuple[int, int], tuple[int, jax.Array]] = {}
        for s, history in zip(sent, histories, strict=True):
            if s.population == population and s.steps > furthest.get(s[1:3], (0, None))[0]:
                furthest[s[1:3]] = s.steps, history
        whole = furthest.get((0, n))
        if len(furthest) == 1 and whole is not None and whole[0] == kept:
            made.append(whole[1])
            continue
        spikes = jnp.zeros((kept, n), bool)
        for (low, high), (steps, history) in furthest.items():
            there = spikes[:steps, low:high] | spikes_of(history, high - low)
            spikes = spikes.at[:steps, low:high].set(there)
        made.append(pack_bits(spikes))
    return made


def parted(
    sent: Sequence[Sent], merged: Sequence[jax.Array], sizes: Sequence[int]
) -> list[jax.Array]:
    """The history of each projection."""
    parts = []
    for s in sent:
        rows, n = merged[s.population][: s.steps], sizes[s.population]
        if (s.low, s.high) != (0, n):
            rows = pack_bits(spikes_of(rows, n)[:, s.low : s.high])
        parts.append(rows)
    return parts
