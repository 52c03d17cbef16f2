"""COBA: a conductance with a reversal potential."""

from __future__ import annotations

from typing import Any

from ..units import is_quantity, mantissa
from .base import SynOut, finite


class COBA(SynOut):
    """Conductance-based output: the current `g (E - V)`, with the reversal potential `E` in mV.

    E: a number, array or quantity. Without units, g is in units of the leak where R is 1 ohm.

    Errors: ValueError for NaN, TypeError for a unit of another dimension.

    >>> out = COBA(E=0.0)
    >>> out.bind_cond(2.0)
    >>> out(-60.0)
    120.0
    """

    def __init__(self, E: Any = 0.0, name: str | None = None) -> None:
        super().__init__(name)
        self.E = E
        finite(E, "mV", what="COBA.E")

    @property
    def E_mantissa(self) -> Any:
        """E in mV."""
        return mantissa(getattr(self.E, "value", self.E), "mV", what="COBA.E")

    @property
    def value_mantissa(self) -> Any:
        return self.E_mantissa

    def linear(self, value: Any = None) -> tuple[Any, Any]:
        g = mantissa(self._conductance(), "S", what="the conductance of COBA")
        return g * (self.E_mantissa if value is None else value), g

    def update(self, V: Any) -> Any:
        """The current at potential V; in mA without units."""
        g, E = self._conductance(), getattr(self.E, "value", self.E)
        if is_quantity(g) and is_quantity(E) and is_quantity(V):
            return g * (E - V)
        current, G = self.linear()
        return current - G * mantissa(V, "mV", what="V")
