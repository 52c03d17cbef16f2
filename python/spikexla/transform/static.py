"""Arguments that are constants of a trace, marked so that they are no data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Constant:
    """A static argument: no data, equal by value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ValueError(
                f"static argument {value!r} is not hashable; pass a tuple instead of a list, "
                "or make it a dynamic argument"
            ) from None
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant) or type(other.value) is not type(self.value):
            return False
        return bool(other.value == self.value)


def chosen_arguments(
    fun: Callable, nums: int | Sequence[int] | None, names: str | Iterable[str] | None, what: str
) -> tuple[frozenset[int], frozenset[str]]:
    """Arguments chosen by position and by name, each in both ways, as far as it can be given so."""
    nums = (nums,) if isinstance(nums, int) else tuple(nums or ())
    names = (names,) if isinstance(names, str) else tuple(names or ())
    if not nums and not names:
        return frozenset(), frozenset()
    parameters = list(inspect.signature(fun).parameters)
    for name in names:
        if name not in parameters:
            raise ValueError(
                f"{what} has {name!r}, but {getattr(fun, '__name__', fun)} "
                f"takes {', '.join(parameters)}"
            )
    nums = tuple(n % len(parameters) if n < 0 else n for n in nums)
    by_name = {parameters[n] for n in nums if n < len(parameters)} | {*names}
    return frozenset({*nums, *map(parameters.index, names)}), frozenset(by_name)


class StaticArguments:
    """Which arguments of `fun` are static, whether they are given by position or by name."""

    def __init__(
        self,
        fun: Callable,
        nums: int | Sequence[int] | None,
        names: str | Iterable[str] | None = (),
    ) -> None:
        self.fun = fun
        self._positions, self._names = chosen_arguments(fun, nums, names, "static_argnames")

    def mark(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments with the static ones wrapped."""
        positions, names = self._positions, self._names
        if not positions and not names:
            return args, kwargs
        args = tuple(Constant(a) if k in positions else a for k, a in enumerate(args))
        return args, {k: Constant(a) if k in names else a for k, a in kwargs.items()}

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function with marked arguments."""
        args = tuple(a.value if isinstance(a, Constant) else a for a in args)
        kwargs = {k: a.value if isinstance(a, Constant) else a for k, a in kwargs.items()}
        return self.fun(*args, **kwargs)
