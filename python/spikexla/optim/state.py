"""OptimState: what an optimiser or a schedule remembers."""

from __future__ import annotations

from ..state import LongTermState


class OptimState(LongTermState):
    """A step count, a learning rate, a momentum: saved with the model, never trained.

    >>> OptimState(0).value
    0
    """

    __slots__ = ()
