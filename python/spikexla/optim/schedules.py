"""The learning-rate schedules, by their names in PyTorch and braintools, on those of optax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp

from .scheduler import LRScheduler, Rates, of, positive, rates

Law = Callable[[Any], Any]


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` epochs."""

    def __init__(
        self, base_lr: Rates = 1e-3, step_size: int = 30, gamma: float = 0.1, last_epoch: int = 0
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.step_size, self.gamma = positive(step_size, "step_size"), positive(gamma, "gamma")

    def law(self, group: int) -> Law:
        import optax

        base = of(self.base_lrs, group)
        return optax.exponential_decay(base, self.step_size, self.gamma, staircase=True)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of `milestones`."""

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        milestones: Sequence[int] = (30, 60, 90),
        gamma: float = 0.1,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.milestones, self.gamma = tuple(sorted(milestones)), positive(gamma, "gamma")

    def law(self, group: int) -> Law:
        import optax

        falls = {m: self.gamma ** self.milestones.count(m) for m in self.milestones}
        return optax.piecewise_constant_schedule(of(self.base_lrs, group), falls)


class ExponentialLR(LRScheduler):
    """The rate times `gamma` at every epoch."""

    def __init__(self, base_lr: Rates = 1e-3, gamma: float = 0.95, last_epoch: int = 0) -> None:
        super().__init__(base_lr, last_epoch)
        self.gamma = positive(gamma, "gamma")

    def law(self, group: int) -> Law:
        import optax

        return optax.exponential_decay(of(self.base_lrs, group), 1, self.gamma)


class ExponentialDecayLR(LRScheduler):
    """The rate times `decay_rate` over each `decay_steps`, smoothly or in stairs.

    The decay begins after `transition_begin` and does not go beyond `end_value`.
    """

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        decay_steps: int = 1000,
        decay_rate: float = 0.96,
        transition_begin: int = 0,
        staircase: bool = False,
        end_value: float | None = None,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.decay_steps = positive(decay_steps, "decay_steps")
        self.decay_rate = positive(decay_rate, "decay_rate")
        self.transition_begin = positive(transition_begin, "transition_begin", zero=True)
        self.staircase, self.end_value = staircase, end_value

    def law(self, group: int) -> Law:
        import optax

        return optax.exponential_decay(
            of(self.base_lrs, group),
            self.decay_steps,
            self.decay_rate,
            self.transition_begin,
            self.staircase,
            self.end_value,
        )


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate down to `eta_min` over `T_max` epochs; then it stays there."""

    def __init__(
        self, base_lr: Rates = 1e-3, T_max: int = 50, eta_min: float = 0.0, last_epoch: int = 0
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.T_max = positive(T_max, "T_max")
        self.eta_min = positive(eta_min, "eta_min", zero=True)

    def law(self, group: int) -> Law:
        base = of(self.base_lrs, group)
        return lambda count: _cosine(base, self.eta_min, jnp.minimum(count / self.T_max, 1.0))


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine down to `eta_min`, again and again (SGDR; Loshchilov and Hutter, 2017).

    The first takes `T_0` epochs, each further one `T_mult` times as many as the one before.
    """

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        T_0: int = 10,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.T_0, self.T_mult = positive(T_0, "T_0"), positive(T_mult, "T_mult")
        if not isinstance(T_mult, int):
            raise ValueError(f"T_mult must be an integer of 1 or more, got {T_mult!r}")
        self.eta_min = positive(eta_min, "eta_min", zero=True)

    def law(self, group: int) -> Law:
        base = of(self.base_lrs, group)
        if self.T_mult == 1:
            return lambda count: _cosine(base, self.eta_min, (count % self.T_0) / self.T_0)
        # All restarts that a 32-bit count can reach: compared exactly, without a logarithm.
        starts = [0]
        while starts[-1] < 2**31:
            starts.append(starts[-1] + self.T_0 * self.T_mult ** (len(starts) - 1))

        def at(count: Any) -> Any:
            k = jnp.searchsorted(jnp.asarray(starts[:-1]), count, side="right") - 1
            start = jnp.asarray(starts[:-1])[k]
            return _cosine(base, self.eta_min, (count - start) / (self.T_0 * 1.0 * self.T_mult**k))

        return at


class PolynomialLR(LRScheduler):
    """The rate times `(1 - epoch / total_iters) ** power`; zero from `total_iters` on."""

    def __init__(
        self, base_lr: Rates = 1e-3, total_iters: int = 5, power: float = 1.0, last_epoch: int = 0
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.total_iters = positive(total_iters, "total_iters")
        self.power = positive(power, "power")

    def law(self, group: int) -> Law:
        import optax

        base = of(self.base_lrs, group)
        return optax.polynomial_schedule(base, 0.0, self.power, self.total_iters)


class LinearLR(LRScheduler):
    """The rate times a factor that goes from `start_factor` to `end_factor` in `total_iters`."""

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.start_factor = positive(start_factor, "start_factor", zero=True)
        self.end_factor = positive(end_factor, "end_factor", zero=True)
        self.total_iters = positive(total_iters, "total_iters", zero=True)

    def law(self, group: int) -> Law:
        base = of(self.base_lrs, group)
        return _ramp(base * self.start_factor, base * self.end_factor, self.total_iters)


class ConstantLR(LRScheduler):
    """The rate times `factor` before `total_iters`, the rate itself from then on."""

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.factor = positive(factor, "factor", zero=True)
        self.total_iters = positive(total_iters, "total_iters", zero=True)

    def law(self, group: int) -> Law:
        base = of(self.base_lrs, group)
        return _steps([self.total_iters], [base * self.factor, base])


class WarmupScheduler(LRScheduler):
    """A straight line from `warmup_start_lr` to the rate over `warmup_epochs`; then the rate."""

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        warmup_epochs: int = 5,
        warmup_start_lr: float = 0.0,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.warmup_epochs = positive(warmup_epochs, "warmup_epochs", zero=True)
        self.warmup_start_lr = positive(warmup_start_lr, "warmup_start_lr", zero=True)

    def law(self, group: int) -> Law:
        return _ramp(self.warmup_start_lr, of(self.base_lrs, group), self.warmup_epochs)


class WarmupCosineSchedule(LRScheduler):
    """A straight line up over `warmup_steps`, then half a cosine down to `eta_min`.

    The whole takes `total_steps`.
    """

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        warmup_steps: int = 1000,
        total_steps: int = 10000,
        warmup_start_lr: float = 0.0,
        eta_min: float = 0.0,
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.warmup_steps = positive(warmup_steps, "warmup_steps", zero=True)
        self.total_steps = total_steps
        self.warmup_start_lr = positive(warmup_start_lr, "warmup_start_lr", zero=True)
        self.eta_min = positive(eta_min, "eta_min", zero=True)
        if not warmup_steps < total_steps:
            raise ValueError(f"total_steps={total_steps} must exceed warmup_steps={warmup_steps}")

    def law(self, group: int) -> Law:
        base, length = of(self.base_lrs, group), self.total_steps - self.warmup_steps
        up = _ramp(self.warmup_start_lr, base, self.warmup_steps)

        def at(count: Any) -> Any:
            down = jnp.clip((count - self.warmup_steps) / length, 0.0, 1.0)
            fall = _cosine(base, self.eta_min, down)
            return jnp.where(count < self.warmup_steps, up(count), fall)

        return at


class PiecewiseConstantSchedule(LRScheduler):
    """The rate `values[k]` between `boundaries[k - 1]` and `boundaries[k]`."""

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        boundaries: Sequence[int] = (1000, 2000),
        values: Sequence[float] = (1.0, 0.1, 0.01),
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.boundaries, self.values = tuple(boundaries), rates(values, "values")
        if len(self.values) != len(self.boundaries) + 1 or list(boundaries) != sorted(boundaries):
            raise ValueError(
                "boundaries must rise, and values must be one more than they are; got "
                f"boundaries={self.boundaries}, values={self.values}"
            )

    def law(self, group: int) -> Law:
        return _steps(self.boundaries, self.values)


class CyclicLR(LRScheduler):
    """The rate goes up to `max_lr` and down again, in straight lines (Smith, 2017).

    mode: 'triangular', 'triangular2' (half as high in each further cycle) or 'exp_range' (times
    `gamma` for each step).  `scale_fn`, a function of the cycle (from 1) or, with
    `scale_mode='iterations'`, of the count, replaces it.
    """

    def __init__(
        self,
        base_lr: Rates = 1e-3,
        max_lr: Rates = 1e-2,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Any], Any] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        last_epoch: int = 0,
    ) -> None:
        super().__init__(base_lr, last_epoch)
        self.max_lrs = rates(max_lr, "max_lr")
        self.step_size_up = positive(step_size_up, "step_size_up")
        self.step_size_down = positive(step_size_down or step_size_up, "step_size_down")
        self.gamma, self.scale_fn, self.scale_mode = gamma, scale_fn, scale_mode
        self.mode = one_of(mode, "mode", ("triangular", "triangular2", "exp_range"))
        one_of(scale_mode, "scale_mode", ("cycle", "iterations"))

    def law(self, group: int) -> Law:
        base, top = of(self.base_lrs, group), of(self.max_lrs, group)
        up, down = self.step_size_up, self.step_size_down

        def at(count: Any) -> Any:
            cycle, place = jnp.asarray(count) // (up + down), count % (up + down)
            height = jnp.where(place <= up, place / up, (up + down - place) / down)
            return base + (top - base) * height * self._scale(cycle + 1, count)

        return at

    def _scale(self, cycle: Any, count: Any) -> Any:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else count)
        if self.mode == "triangular2":
            return 0.5 ** (cycle - 1)
        return self.gamma**count if self.mode == "exp_range" else 1.0


class OneCycleLR(LRScheduler):
    """One rise to `max_lr` and a longer fall (Smith and Topin, 2018).

    A straight line from `max_lr / div_factor` up during `pct_start` of the `total_steps` (or
    `epochs * steps_per_epoch`), then a cosine, or a line, down to `max_lr / final_div_factor`.
    """

    def __init__(
        self,
        max_lr: Rates = 1e-2,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        last_epoch: int = 0,
    ) -> None:
        self.max_lrs = rates(max_lr, "max_lr")
        super().__init__([m / positive(div_factor, "div_factor") for m in self.max_lrs], last_epoch)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self.total_steps = positive(total_steps, "total_steps")
        self.anneal_strategy = one_of(anneal_strategy, "anneal_strategy", ("cos", "linear"))
        self.pct_start = pct_start
        self.final_div_factor = positive(final_div_factor, "final_div_factor")
        if not 0.0 < pct_start < 1.0:
            raise ValueError(f"pct_start is a part of the whole, between 0 and 1; got {pct_start}")

    def law(self, group: int) -> Law:
        base, top = of(self.base_lrs, group), of(self.max_lrs, group)
        bottom, rise = top / self.final_div_factor, self.pct_start * self.total_steps

        def at(count: Any) -> Any:
            down = jnp.clip((count - rise) / (self.total_steps - rise), 0.0, 1.0)
            line = top + (bottom - top) * down
            fall = _cosine(top, bottom, down) if self.anneal_strategy == "cos" else line
            return jnp.where(count <= rise, base + (top - base) * count / rise, fall)

        return at


def one_of(value: str, what: str, allowed: tuple[str, ...]) -> Any:
    """`value`, which must be one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
    return value


def _cosine(top: float, bottom: float, progress: Any) -> Any:
    return bottom + (top - bottom) * (1 + jnp.cos(math.pi * progress)) / 2


def _ramp(start: float, end: float, length: int) -> Law:
    import optax

    # optax takes a length of 0 for "stay at the start".
    return optax.linear_schedule(start, end, length) if length else optax.constant_schedule(end)


def _steps(boundaries: Sequence[int], values: Sequence[float]) -> Law:
    import optax

    return optax.join_schedules([*map(optax.constant_schedule, values)], [*boundaries])
