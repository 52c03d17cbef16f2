"""Rules that a State holds its new values to, for those who ask: `State(value, check=True)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .value import LEAF, summary

ASPECTS = ("tree", "shape", "dtype")

Check = bool | str | Sequence[str]


class Rule(NamedTuple):
    """What must stay as it was in the first value; `None` for what may change."""

    tree: Any
    shapes: tuple[tuple[int, ...], ...] | None
    dtypes: tuple[Any, ...] | None
    batched: bool  # leading axes may come and go

    @staticmethod
    def of(check: Check, raw: Any, tree: Any, *, batched: bool) -> Rule | None:
        """The rule for the aspects in `check`, taken from a value; None for no aspect."""
        if check is True:
            check = ASPECTS
        asked = (check,) if isinstance(check, str) else tuple(check or ())
        unknown = [aspect for aspect in asked if aspect not in ASPECTS]
        if unknown:
            raise ValueError(
                f"check={check!r}: a State can check {', '.join(ASPECTS)}, or True for all; "
                f"not {unknown[0]!r}"
            )
        if not asked:
            return None
        leaves = _leaves(raw, tree)
        shapes = tuple(np.shape(leaf) for leaf in leaves) if "shape" in asked else None
        dtypes = tuple(map(jax.numpy.result_type, leaves)) if "dtype" in asked else None
        return Rule(tree, shapes, dtypes, batched)

    def broken_by(self, raw: Any, tree: Any) -> str | None:
        """What is wrong with a value, or None."""
        if tree != self.tree:
            return f"it checks its structure {self.tree}, and was given {tree}"
        leaves = _leaves(raw, tree)
        for leaf, shape in zip(leaves, self.shapes or (), strict=bool(self.shapes)):
            found = np.shape(leaf)
            if found != shape and not (self.batched and _ends_with(found, shape)):
                more = ", leading batch axes allowed," if self.batched else ""
                return f"it checks its shape {shape}{more} and was given {found}"
        for leaf, dtype in zip(leaves, self.dtypes or (), strict=bool(self.dtypes)):
            found = jax.numpy.result_type(leaf)
            if found != dtype:
                return f"it checks its dtype {dtype}, and was given {found} ({summary(leaf)})"
        return None


def _ends_with(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(found) > len(shape) and found[len(found) - len(shape) :] == shape


def _leaves(raw: Any, tree: Any) -> Sequence[Any]:
    return (raw,) if tree is LEAF else raw
