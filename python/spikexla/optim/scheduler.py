"""LRScheduler: a learning rate as a function of a count of epochs (or of updates)."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from ..atomic import Transaction
from ..module import Module
from .state import OptimState

Rates = float | Sequence[float]


class LRScheduler(Module, abc.ABC):
    """A learning rate that depends on a count; give it to an optimiser as `lr`.

    `scheduler(count)` is the rate at that count.  The optimiser uses the rate at `last_epoch`,
    which `scheduler.step()` advances: call it once an epoch, or once an update, as the schedule is
    meant.  To follow the optimiser's own count of updates, without `step`, give it
    `lr=scheduler.schedule`.

    base_lr: the rate to start from, or one for each parameter group (the last one stands for all
    further groups).

    >>> scheduler = sx.optim.StepLR(0.1, step_size=2, gamma=0.5)
    >>> [round(float(scheduler(k)), 3) for k in range(5)]
    [0.1, 0.1, 0.05, 0.05, 0.025]
    """

    def __init__(self, base_lr: Rates = 1e-3, last_epoch: int = 0) -> None:
        super().__init__()
        self.base_lrs = rates(base_lr, "base_lr")
        self.last_epoch = OptimState(jnp.asarray(last_epoch, jnp.int32))

    @abc.abstractmethod
    def law(self, group: int) -> Callable[[Any], Any]:
        """The rate of a parameter group as a function of the count."""

    def update(self, count: Any = None, group: int = 0) -> Any:
        """The rate at `count`, or at `last_epoch` without it."""
        return self.law(group)(self.last_epoch.value if count is None else count)

    @property
    def schedule(self) -> Callable[[Any], Any]:
        """The rate as a plain function of the count, such as those of optax."""
        return self.law(0)

    def step(self, epoch: Any = None) -> None:
        """Goes to the next epoch, or to the given one."""
        now = self.last_epoch.value + 1 if epoch is None else epoch
        self.last_epoch.value = jnp.asarray(now, jnp.int32)

    def get_lr(self) -> list[Any]:
        """The rates at `last_epoch`, one for each of `base_lrs`."""
        return [self(None, group) for group in range(len(self.base_lrs))]

    get_last_lr = get_lr  # its name in PyTorch

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers, as numbers by name; `load_state_dict` takes it back."""
        return {str(path): state.value for path, state in self.states(OptimState).items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        states = self.states(OptimState)
        if set(saved) != set(map(str, states)):
            raise ValueError(
                f"a {type(self).__name__} remembers {sorted(map(str, states))}, but the saved one "
                f"has {sorted(saved)}; load it into a scheduler of the class that saved it"
            )
        with Transaction():
            for name, value in saved.items():
                states[name].value = jnp.asarray(value, jnp.result_type(states[name].value))


def rates(values: Rates, what: str) -> tuple[float, ...]:
    """One rate or several, checked."""
    many: tuple[Any, ...] = tuple(values) if isinstance(values, list | tuple) else (values,)
    for value in many:
        positive(value, what, zero=True)
    if not many:
        raise ValueError(f"{what} needs one rate or more, got an empty list")
    return tuple(map(float, many))


def of(values: tuple[float, ...], group: int) -> float:
    """The value of a group; the last one stands for all that follow."""
    return values[min(group, len(values) - 1)]


def positive(value: Any, what: str, *, zero: bool = False) -> Any:
    """`value`, which must be a number above 0 (or 0, with `zero`)."""
    try:
        good = not isinstance(value, bool) and (0 <= value if zero else 0 < value)
        good = good and value < float("inf")
    except TypeError:
        good = False
    if not good:
        least = "0 or more" if zero else "above 0"
        raise ValueError(f"{what} must be a finite number, {least}; got {value!r}")
    return value
