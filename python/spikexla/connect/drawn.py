"""Synapses drawn from a rule: with their weights and delays, or as a description of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from ..ops import library
from .base import (
    CSR,
    FixedFanOut,
    check_first_source,
    check_seed,
    count,
    empty,
    require_memory,
    trusted_csr,
    trusted_fan_out,
)
from .distributions import Distribution, Law
from .rules import FixedOutDegree, Pairs, Rule


class Drawn(NamedTuple):
    """Connectivity, and values in the order of its `indices` where they are drawn."""

    conn: CSR | FixedFanOut
    weight: np.ndarray | None
    delay: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Description:
    """Everything that decides the synapses of a projection, in a few numbers."""

    rule: Rule
    n_pre: int
    n_post: int
    seed: int
    allow_autapses: bool = True
    allow_multapses: bool = True
    weight: Law | None = None
    delay: Law | None = None
    first_source: int = 0

    def native(self) -> Any:
        """The rule that `csrc/cpu/rows.h` reads row by row."""
        return self.rule.native(self._pairs(), weight=self.weight, delay=self.delay)

    def count(self) -> int:
        """How many synapses there are; holds none of them."""
        indptr = np.empty(self.n_pre + 1, np.int64)
        library.native().count_rows(self.native(), indptr)
        return int(indptr[-1])

    def build(self) -> Drawn:
        """All synapses, on all cores. MemoryError before memory is asked for."""
        native, values = library.native(), (self.weight, self.delay)
        rule = self.native()
        expected = int(rule.expected)
        words = expected * (1 + sum(v is not None for v in values)) + 2 * self.n_pre
        require_memory(4 * words, f"about {expected} synapses")
        indptr = empty((self.n_pre + 1,), np.int64, f"the starts of {self.n_pre} rows")
        native.count_rows(rule, indptr)
        total = int(indptr[-1])
        targets = empty((total,), np.int32, f"{total} synapses")
        weight, delay = (
            None if v is None else empty((total,), np.float32, f"values of {total} synapses")
            for v in values
        )
        native.read_rows(rule, indptr, targets, weight, delay)
        if not isinstance(self.rule, FixedOutDegree):
            return Drawn(trusted_csr(indptr, targets, self.n_post), weight, delay)
        shape = self.n_pre, self.rule.k
        weight, delay = (None if v is None else v.reshape(shape) for v in (weight, delay))
        return Drawn(trusted_fan_out(targets.reshape(shape), self.n_post), weight, delay)

    def _pairs(self) -> Pairs:
        return Pairs(
            self.n_pre,
            self.n_post,
            self.seed,
            self.allow_autapses,
            self.allow_multapses,
            self.first_source,
        )


def draw(
    rule: Rule,
    n_pre: int,
    n_post: int,
    *,
    seed: int,
    allow_autapses: bool = True,
    allow_multapses: bool = True,
    first_source: int = 0,
    weight: Distribution | None = None,
    delay: Distribution | None = None,
) -> Drawn:
    """The synapses of a rule, rows sorted, with a weight and a delay each where laws are given.

    allow_autapses=False: no pairs (i, first_source + i), which are a neuron and itself: see
    `fixed_prob`. allow_multapses=False: no pair twice. The result depends on the arguments alone,
    not on the machine or its number of threads. Most rules draw a row from the seed and its number
    alone: other synapses than those of `fixed_prob` and its like.

    Errors: ValueError for a rule that cannot be kept, MemoryError before memory is asked for.

    >>> from spikexla.connect import FixedTotal, Uniform
    >>> conn, weight, delay = draw(FixedTotal(8000), 100, 50, seed=1, weight=Uniform(0, 1))
    >>> conn, weight.shape, delay
    (CSR(shape=(100, 50), nnz=8000), (8000,), None)
    """
    laws = [None if law is None else law.law(float) for law in (weight, delay)]
    flags = allow_autapses, allow_multapses
    return describe(rule, n_pre, n_post, seed, *flags, laws[0], laws[1], first_source).build()


def describe(
    rule: Any,
    n_pre: int,
    n_post: int,
    seed: int,
    autapses: bool,
    multapses: bool,
    weight: Law | None,
    delay: Law | None,
    first_source: int = 0,
) -> Description:
    """A checked `Description`."""
    if not isinstance(rule, Rule):
        raise TypeError(f"rule={rule!r} must be a rule of spikexla.connect, like FixedProb(0.1).")
    n_pre, n_post, seed = count("n_pre", n_pre), count("n_post", n_post), check_seed(seed)
    flags, first_source = (autapses, multapses), check_first_source(first_source)
    made = Description(rule, n_pre, n_post, seed, *flags, weight, delay, first_source)
    rule.check(made._pairs())
    return made
