"""OptaxOptimizer: any optimiser of optax that has no class here."""

from __future__ import annotations

from typing import Any, Unpack

from .group import Rate
from .optimizer import Common, Optimizer


class OptaxOptimizer(Optimizer):
    """Any optimiser of optax: a transformation, or a function of `learning_rate` that makes one.

    A transformation has its learning rate inside, so it takes no `lr`, and its `lr` is None.

    >>> import optax
    >>> optimizer = OptaxOptimizer(optax.sgd, lr=0.1)
    """

    def __init__(self, tx: Any, lr: Rate | None = None, **common: Unpack[Common]) -> None:
        made = hasattr(tx, "init") and hasattr(tx, "update")
        if made and (lr is not None or common.get("learning_rate") is not None):
            raise TypeError(
                "a transformation of optax has its learning rate inside; give OptaxOptimizer a "
                "function of learning_rate instead, such as optax.adam"
            )
        if not made and not callable(tx):
            raise TypeError(
                f"tx must be a transformation of optax or a function that makes one, got {tx!r}"
            )
        if made:
            super().__init__(_inside, _Given(tx), {}, **common)
        else:
            super().__init__(lr, tx, {}, **common)


class _Given:
    """A transformation that is there already, as a function of a learning rate."""

    def __init__(self, tx: Any) -> None:
        self.tx = tx

    def __call__(self, learning_rate: Any) -> Any:
        return self.tx


def _inside(count: Any) -> None:
    """The learning rate of a transformation: None, it is inside."""
