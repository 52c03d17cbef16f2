"""Rules of who is connected to whom, as values: nothing is drawn before somebody asks."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np

from ..ops import library
from .base import count, empty
from .from_arrays import from_arrays


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What a rule is applied to."""

    n_pre: int
    n_post: int
    seed: int
    autapses: bool
    multapses: bool

    def rule(self, kind: str, **fields: Any) -> Any:
        """The native rule of this kind."""
        return library.native().row_rule(
            kind=kind,
            seed=self.seed,
            n_pre=self.n_pre,
            n_post=self.n_post,
            skip_self=not self.autapses,
            distinct=not self.multapses,
            **fields,
        )

    def check_choices(self, k: int, size: int, drawn: str) -> None:
        """Raises if `k` of `size` neurons cannot be drawn."""
        choices = size if self.autapses else size - 1
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

    def expected(self, pairs: Pairs) -> float:
        """About how many synapses there will be."""
        return float(pairs.n_pre) * pairs.n_post


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

    def expected(self, pairs: Pairs) -> float:
        return super().expected(pairs) * self.p


@dataclasses.dataclass(frozen=True)
class FixedOutDegree(Rule):
    """`k` targets for each source, drawn uniformly."""

    k: int

    def __post_init__(self) -> None:
        count("k", self.k, least=0)

    def native(self, pairs: Pairs, **values: Any) -> Any:
        pairs.check_choices(self.k, pairs.n_post, "target")
        return pairs.rule("fan", fan=self.k, **values)

    def expected(self, pairs: Pairs) -> float:
        return float(pairs.n_pre) * self.k


@dataclasses.dataclass(frozen=True)
class FixedInDegree(Rule):
    """`k` sources for each target, drawn uniformly; rows exist when all are drawn."""

    k: int

    def __post_init__(self) -> None:
        count("k", self.k, least=0)

    def native(self, pairs: Pairs, **values: Any) -> Any:
        pairs.check_choices(self.k, pairs.n_pre, "source")
        sides = dataclasses.replace(pairs, n_pre=pairs.n_post, n_post=pairs.n_pre)
        total = pairs.n_post * self.k
        starts = np.arange(pairs.n_post + 1, dtype=np.int64) * self.k
        sources = empty((total,), np.int32, f"{total} synapses")
        library.native().read_rows(sides.rule("fan", fan=self.k), starts, sources)
        targets = np.repeat(np.arange(pairs.n_post, dtype=np.int32), self.k)
        conn, _ = from_arrays(sources, targets, pairs.n_pre, pairs.n_post)
        return pairs.rule(
            "given",
            indptr=np.asarray(conn.indptr, np.int64),
            targets=np.asarray(conn.indices),
            **values,
        )

    def expected(self, pairs: Pairs) -> float:
        return float(pairs.n_post) * self.k


@dataclasses.dataclass(frozen=True)
class FixedTotal(Rule):
    """`k` synapses in all, their pairs drawn uniformly and independently: multapses occur."""

    k: int

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int | np.integer):
            raise TypeError(f"k={self.k!r} must be an integer.")
        if not 0 <= self.k < 2**63:  # may pass the reach of int32
            raise ValueError(f"k={self.k} must lie in [0, 2**63).")

    def native(self, pairs: Pairs, **values: Any) -> Any:
        if not pairs.multapses:
            raise ValueError(
                "FixedTotal draws pairs with replacement, so allow_multapses=False cannot be kept. "
                "Use FixedProb or FixedOutDegree for different pairs."
            )
        if pairs.n_post == 1:
            pairs.check_choices(self.k, 1, "target")
        widths = np.full(pairs.n_pre, float(pairs.n_post))
        widths[: pairs.n_post] -= not pairs.autapses
        # RandomState, for numpy has frozen its draws and may change those of Generator.
        rng = np.random.RandomState(np.random.Philox(key=pairs.seed))  # pyright: ignore
        indptr = np.zeros(pairs.n_pre + 1, np.int64)
        np.cumsum(rng.multinomial(self.k, widths / widths.sum()), out=indptr[1:])
        return pairs.rule("sizes", indptr=indptr, **values)

    def expected(self, pairs: Pairs) -> float:
        return float(self.k)


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
        if not pairs.autapses:
            raise ValueError("OneToOne with allow_autapses=False connects nothing. Allow them.")
        return pairs.rule("one_to_one", **values)

    def expected(self, pairs: Pairs) -> float:
        return float(pairs.n_pre)
