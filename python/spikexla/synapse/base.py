"""Synapse and SynOut: the bases of synaptic dynamics and of their effect on the membrane."""

from __future__ import annotations

import abc
import hashlib
from typing import Any, ClassVar

import jax
import numpy as np

from ..dynamics import Dynamics
from ..module import Module
from ..state import has_tracer
from ..units import is_quantity, mantissa, unit


class Describer:
    """A synapse or an output still to be made: `Expon.desc(100, tau=5.0)`.

    Projections onto the same neurons with equal describers share one.
    """

    def __init__(self, kind: type, args: tuple, kwargs: dict[str, Any]) -> None:
        self.kind, self.args, self.kwargs = kind, args, kwargs

    def __call__(self) -> Any:
        return self.kind(*self.args, **self.kwargs)

    @property
    def key(self) -> str:
        """Equal for describers of equal things."""
        given = [(str(k), v) for k, v in enumerate(self.args)] + sorted(self.kwargs.items())
        listed = ", ".join(f"{name}={_spelled(value)}" for name, value in given)
        return f"{self.kind.__module__}.{self.kind.__qualname__}({listed})"

    def __repr__(self) -> str:
        return f"{self.kind.__name__}.desc{self.args}{self.kwargs}"


def _spelled(value: Any) -> str:
    """Everything that tells `value` from another one."""
    if is_quantity(value):
        return f"{_spelled(value.mantissa)} {value.unit}"
    if isinstance(value, np.ndarray | np.generic | jax.Array) and not has_tracer(value):
        array = np.asarray(value)
        if array.ndim == 0:
            return repr(array.item())
        if not array.dtype.hasobject:
            digest = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
            return f"{array.dtype}{array.shape}#{digest}"
    if isinstance(value, bool | int | float | str | type(None)):
        return repr(value)
    if type(value) is tuple:
        return f"({', '.join(map(_spelled, value))})"
    return f"{value!r} at {id(value)}"


class Synapse(Dynamics, abc.ABC):
    """Synaptic dynamics that spikes jump into: a state `g` on the side of the targets."""

    weight_units: ClassVar[tuple[str, ...]] = ("S", "mA", "mV", "1")  # where g carries no unit
    ahead: ClassVar[int] = 0  # steps between the arrival of a spike and the end of its delay

    g: Any

    @classmethod
    def desc(cls, *args: Any, **kwargs: Any) -> Describer:
        """A describer: the synapse is made, or shared, by the projection that takes it."""
        return Describer(cls, args, kwargs)


class _Bound:
    """The conductance of this step; it belongs to no trial and is not saved."""

    def __init__(self) -> None:
        self.value: Any = None
        self.synapse: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"value": None, "synapse": self.synapse}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update(saved)


class SynOut(Module, abc.ABC):
    """What a synaptic conductance does to the membrane, as a current that is linear in V."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._bound = _Bound()

    @classmethod
    def desc(cls, *args: Any, **kwargs: Any) -> Describer:
        """A describer: the output is made, or shared, by the projection that takes it."""
        return Describer(cls, args, kwargs)

    def bind_cond(self, conductance: Any) -> None:
        """Sets the conductance of this step."""
        self._bound.value = conductance

    def driven_by(self, synapse: Any) -> None:
        """Says once whose conductance it will be."""
        self._bound.synapse = synapse  # not an attribute of its own: it is no part of this module

    @property
    def synapse(self) -> Any:
        """The synapse whose conductance this is, or None."""
        return self._bound.synapse

    @property
    def isbound(self) -> bool:
        """Whether there is a conductance to work with."""
        return self._bound.value is not None

    def _conductance(self) -> Any:
        if not self.isbound:
            raise ValueError(
                f"{type(self).__name__} has no conductance yet; call `bind_cond(g)` before, or let "
                "a projection do it"
            )
        return self._bound.value

    @property
    def value_mantissa(self) -> Any:
        """The number that `linear` takes, if any."""
        return None

    @abc.abstractmethod
    def linear(self, value: Any = None) -> tuple[Any, Any]:
        """(I in mA, G in S or None): the current is `I - G V`; `value` is for `value_mantissa`."""


def finite(value: Any, name: str, *, what: str) -> None:
    """Checks a parameter, or the State of one: its unit `name`, and that it is a finite number."""
    number = mantissa(getattr(value, "value", value), name, what=what)
    if not has_tracer(number) and not np.all(np.isfinite(np.asarray(number))):
        raise ValueError(f"{what} is {number} {name}; it must be a finite number")


def unit_name(value: Any) -> str | None:
    """The coherent unit of a weight or conductance: 'S', 'mA', 'mV' or '1'; None for a number."""
    if not is_quantity(value):
        return None
    for name in ("S", "mA", "mV", "1"):
        if value.unit.has_same_dim(unit(name)):
            return name
    raise TypeError(
        f"a weight or conductance has the unit {value.unit}; give it in siemens, mA or mV, or as a "
        "plain number"
    )


def plain(value: Any) -> Any:
    """The number of `value` in its own coherent unit."""
    name = unit_name(value)
    return value if name is None else mantissa(value, name, what="a weight or conductance")
