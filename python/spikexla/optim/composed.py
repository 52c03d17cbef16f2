"""Schedules made of schedules, and the one that watches a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp

from ..atomic import Transaction
from .scheduler import LRScheduler, Rates, of, positive, rates
from .schedules import one_of
from .state import OptimState

Law = Callable[[Any], Any]


class SequentialLR(LRScheduler):
    """One schedule after the other: the next takes over at each of `milestones`, from its start.

    >>> parts = [sx.optim.WarmupScheduler(0.1, 2), sx.optim.ExponentialLR(0.1, 0.5)]
    >>> s = SequentialLR(parts, milestones=[2])
    >>> [round(float(s(k)), 3) for k in range(5)]
    [0.0, 0.05, 0.1, 0.05, 0.025]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = 0
    ) -> None:
        self.schedulers = _checked(schedulers, "SequentialLR")
        super().__init__(self.schedulers[0].base_lrs, last_epoch)
        self.milestones = tuple(milestones)
        rising = list(milestones) == sorted(set(milestones))
        if len(self.schedulers) != len(self.milestones) + 1 or not rising:
            raise ValueError(
                f"SequentialLR needs a rising milestone between each two schedulers; got "
                f"{len(self.schedulers)} schedulers and milestones={self.milestones}"
            )

    def law(self, group: int) -> Law:
        import optax

        return optax.join_schedules([s.law(group) for s in self.schedulers], [*self.milestones])


class ChainedScheduler(LRScheduler):
    """The rate of the first schedule times what each of the others makes of its own base rate."""

    def __init__(self, schedulers: Sequence[LRScheduler], last_epoch: int = 0) -> None:
        self.schedulers = _checked(schedulers, "ChainedScheduler")
        super().__init__(self.schedulers[0].base_lrs, last_epoch)
        for scheduler in self.schedulers[1:]:
            if 0.0 in scheduler.base_lrs:
                raise ValueError(
                    f"ChainedScheduler multiplies by the rate over base_lr, and a "
                    f"{type(scheduler).__name__} has base_lr=0; give it the rate it starts from"
                )

    def law(self, group: int) -> Law:
        def at(count: Any) -> Any:
            rate = self.schedulers[0].law(group)(count)
            for scheduler in self.schedulers[1:]:
                rate = rate * (scheduler.law(group)(count) / of(scheduler.base_lrs, group))
            return rate

        return at


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when a metric has not improved for more than `patience` epochs.

    Call `scheduler.step(metric)` once an epoch; it works under `jit` too.  A metric is better when
    it is below (mode 'min') or above ('max') the best one by `threshold`, as a part of it ('rel')
    or as it is ('abs').  After each reduction `cooldown` epochs do not count.

    >>> scheduler = ReduceLROnPlateau(0.1, patience=0, factor=0.5)
    >>> for loss in (1.0, 1.0, 0.5):
    ...     scheduler.step(loss)
    >>> round(float(scheduler()), 3)
    0.05
    """

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: Rates = 0.0,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.mode = one_of(mode, "mode", ("min", "max"))
        self.threshold_mode = one_of(threshold_mode, "threshold_mode", ("rel", "abs"))
        self.factor, self.min_lrs = positive(factor, "factor"), rates(min_lr, "min_lr")
        self.patience, self.cooldown, self.threshold = patience, cooldown, threshold
        if factor >= 1.0:
            raise ValueError(f"factor reduces the rate, so it must be below 1; got {factor}")
        worst = jnp.inf if mode == "min" else -jnp.inf
        self.best = OptimState(jnp.asarray(worst, float))
        self.reductions, self.bad_epochs, self.cooling = (
            OptimState(jnp.asarray(0, jnp.int32)) for _ in range(3)
        )

    def law(self, group: int) -> Law:
        base, least = of(self.base_lrs, group), of(self.min_lrs, group)
        return lambda _: jnp.maximum(base * self.factor**self.reductions.value, least)

    def step(self, metric: Any) -> None:
        """Takes the metric of an epoch into account."""
        best, sign = self.best.value, 1 if self.mode == "min" else -1
        if jnp.shape(metric) != ():
            raise ValueError(
                f"ReduceLROnPlateau.step takes one number, got shape {jnp.shape(metric)}; "
                "reduce the metric, for example with .mean()"
            )
        metric = jnp.asarray(metric, best.dtype)
        margin = self.threshold * (jnp.abs(best) if self.threshold_mode == "rel" else 1.0)
        better = sign * metric < sign * best - jnp.where(jnp.isinf(best), 0.0, margin)
        cooling = self.cooling.value > 0
        bad = jnp.where(better | cooling, 0, self.bad_epochs.value + 1)
        reduce = bad > self.patience
        with Transaction():
            self.best.value = jnp.where(better, metric, best)
            self.bad_epochs.value = jnp.where(reduce, 0, bad)
            self.cooling.value = jnp.where(reduce, self.cooldown, self.cooling.value - cooling)
            self.reductions.value = self.reductions.value + reduce
            super().step()


def _checked(schedulers: Sequence[LRScheduler], owner: str) -> list[LRScheduler]:
    for scheduler in schedulers:
        if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
            raise TypeError(
                f"{owner} combines schedules that are functions of the count, got {scheduler!r}"
            )
    if not schedulers:
        raise ValueError(f"{owner} needs one scheduler or more, got none")
    return list(schedulers)
