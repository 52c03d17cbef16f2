"""Rules of who is connected to whom, as values: nothing is drawn before somebody asks."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import library
from .base import CSR, count, selves, total_count
from .distance import distance
from .fixed_num import fixed_num_pre
from .fixed_total import checked_widths, row_starts


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What a rule is applied to."""

    n_pre: int
    n_post: int
    seed: int
    autapses: bool
    multapses: bool
    first_source: int = 0  # source i is target first_source + i

    @property
    def alone(self) -> range:
        """The sources that are among the targets and may not reach themselves."""
        if self.autapses:
            return range(0)
        return selves(self.n_pre, self.n_post, self.first_source)

    def rule(self, kind: str, **fields: Any) -> Any:
        """The native rule of this kind."""
        return library.native().row_rule(
            kind=kind,
            seed=self.seed,
            n_pre=self.n_pre,
            n_post=self.n_post,
            skip_self=not self.autapses,
            distinct=not self.multapses,
            shift=self.first_source,
            **fields,
        )

    def given(self, conn: CSR, **values: Any) -> Any:
        """The native rule that reads the rows of `conn`."""
        indptr, targets = np.asarray(conn.indptr, np.int64), np.asarray(conn.indices)
        return self.rule("given", indptr=indptr, targets=targets, **values)

    def check_choices(self, k: int, size: int, drawn: str) -> None:
        """Raises if `k` of `size` neurons cannot be drawn."""
        choices = size - (len(self.alone) > 0)
        if k > 0 and choices == 0:
            raise ValueError(
                f"one neuron without autapses has no {drawn} to draw. Allow autapses, or 0."
            )
        if k > choices and not self.multapses:
            raise ValueError(
                f"k={k} different {drawn}s cannot be had from {choices}. Lower k, or "
                "allow_multapses=True."
            )


class Rule(abc.ABC):
    """Decides which pairs (source, target) are connected."""

    @abc.abstractmethod
    def native(self, pairs: Pairs, **values: Any) -> Any:
        """The native rule, with the laws `weight` and `delay`."""

    def check(self, pairs: Pairs) -> None:
        """Raises if the rule cannot be kept; draws no synapses."""
        self.native(pairs)


@dataclasses.dataclass(frozen=True)
class FixedProb(Rule):
    """Each pair with probability `p`, independently."""

    p: float

    def __post_init__(self) -> None:
        if not isinstance(self.p, int | float | np.number):
            raise TypeError(f"p={self.p!r} must be a number in [0, 1].")
        if not 0.0 <= self.p <= 1.0:
            hint = " It looks like a percentage: divide by 100." if 1.0 < self.p <= 100.0 else ""
            raise ValueError(f"p={self.p} must be a probability in [0, 1].{hint}")

    def native(self, pairs: Pairs, **values: Any) -> Any:
        return pairs.rule("prob", p=float(self.p), **values)


@dataclasses.dataclass(frozen=True)
class FixedOutDegree(Rule):
    """`k` targets for each source, drawn uniformly."""

    k: int

    def __post_init__(self) -> None:
        count("k", self.k, least=0)

    def native(self, pairs: Pairs, **values: Any) -> Any:
        pairs.check_choices(self.k, pairs.n_post, "target")
        return pairs.rule("fan", fan=self.k, **values)


@dataclasses.dataclass(frozen=True)
class FixedInDegree(Rule):
    """`k` sources for each target, those of `fixed_num_pre`; all rows are drawn at once."""

    k: int

    def __post_init__(self) -> None:
        count("k", self.k, least=0)

    def check(self, pairs: Pairs) -> None:
        pairs.check_choices(self.k, pairs.n_pre, "source")

    def native(self, pairs: Pairs, **values: Any) -> Any:
        conn = fixed_num_pre(
            pairs.n_pre,
            pairs.n_post,
            self.k,
            seed=pairs.seed,
            allow_multapses=pairs.multapses,
            allow_autapses=pairs.autapses,
            first_source=pairs.first_source,
        )
        return pairs.given(conn, **values)


@dataclasses.dataclass(frozen=True)
class FixedTotal(Rule):
    """`k` synapses in all, their pairs drawn uniformly and independently."""

    k: int

    def __post_init__(self) -> None:
        total_count("k", self.k)

    def native(self, pairs: Pairs, **values: Any) -> Any:
        widths = checked_widths(pairs.n_pre, pairs.n_post, self.k, pairs.alone, pairs.multapses)
        starts = row_starts(pairs.seed, widths, self.k, pairs.multapses)
        return pairs.rule("sizes", indptr=starts, **values)


@dataclasses.dataclass(frozen=True, eq=False)
class Distance(Rule):
    """Each pair with the probability `probability(d)` at its distance d, as `distance` draws them.

    pre, post: positions; probability, period: see `distance`. All rows are drawn at once.
    """

    pre: Any
    post: Any
    probability: Callable[[np.ndarray], Any]
    period: Any = None

    def check(self, pairs: Pairs) -> None:
        sizes = len(self.pre), len(self.post)
        if sizes != (pairs.n_pre, pairs.n_post):
            raise ValueError(
                f"Distance has positions of {sizes[0]} sources and {sizes[1]} targets, but there "
                f"are {pairs.n_pre} and {pairs.n_post}. Give every neuron one."
            )

    def native(self, pairs: Pairs, **values: Any) -> Any:
        self.check(pairs)
        conn = distance(
            self.pre,
            self.post,
            self.probability,
            seed=pairs.seed,
            period=self.period,
            allow_autapses=pairs.autapses,
            first_source=pairs.first_source,
        )
        return pairs.given(conn, **values)


@dataclasses.dataclass(frozen=True)
class AllToAll(Rule):
    """Every pair."""

    def native(self, pairs: Pairs, **values: Any) -> Any:
        return pairs.rule("all", **values)


@dataclasses.dataclass(frozen=True)
class OneToOne(Rule):
    """Source i to target i; both sides have the same size."""

    def native(self, pairs: Pairs, **values: Any) -> Any:
        if pairs.n_pre != pairs.n_post:
            raise ValueError(
                f"OneToOne connects equal sizes, but there are {pairs.n_pre} sources and "
                f"{pairs.n_post} targets. Take a view of the larger side."
            )
        if pairs.alone and pairs.first_source == 0:
            raise ValueError("OneToOne with allow_autapses=False connects nothing. Allow them.")
        return pairs.rule("one_to_one", **values)
