"""`NotAPlan`: what keeps a network out of the engine."""

from __future__ import annotations

from typing import Any

from ..module import Module


def names_of(net: Module) -> dict[int, str]:
    """The path of each module by its `id`."""
    return {id(node): str(path) for path, node in net.nodes().items()}


class NotAPlan(Exception):
    """Why a module is stepped in a loop: what its `part` is or does, and what would change that.

    `part` is a module, or None where `update` itself stands in the way.
    """

    def __init__(self, part: Any, what: str, move: str) -> None:
        super().__init__(part, what, move)
        self.part, self.what, self.move = part, what, move

    def named(self, names: dict[int, str]) -> tuple[str, str]:
        """The name of the part, '' for `update`, and the sentence about it; `names` by `id`."""
        name = names.get(id(self.part), "")
        return name, f"{name or 'update()'} {self.what}; {self.move}"
