"""CUBA: a synapse that is a current."""

from __future__ import annotations

from typing import Any

from ..units import is_quantity, mantissa
from .base import SynOut, finite, plain, unit_name

VOLT = 1000.0  # mV


class CUBA(SynOut):
    """Current-based output: the current `g scale`, whatever V is.

    scale: a number or array, or a quantity of potential. None is 1 volt where g is given in siemens
    (as in brainpy.state: 1 mS gives 1 mA), and 1 where it is a number or a current.

    >>> out = CUBA()
    >>> out.bind_cond(2.0)
    >>> out(-60.0)
    2.0
    """

    def __init__(self, scale: Any = None, name: str | None = None) -> None:
        super().__init__(name)
        if hasattr(scale, "has_same_dim") and not is_quantity(scale):
            scale = 1.0 * scale  # a bare unit, such as brainunit.volt
        self.scale = scale
        self._g_units: tuple[str | None, ...] = ()  # as they were said; the last one counts
        if scale is not None:
            finite(scale, "mV", what="CUBA.scale")

    def expect_unit(self, name: str | None) -> None:
        """Says once which unit conductances will have: 'S', 'mA', 'mV', '1' or None."""
        if self._g_units[-1:] != (name,):
            self._g_units = (*self._g_units, name)

    @property
    def gives_ampere(self) -> bool:
        """Whether the current is known to be in mA, because conductances have a unit.

        Errors: TypeError where some have one and others not, and where they are in mV.
        """
        if not self._g_units:
            return False
        known = {name in ("S", "mA") for name in self._g_units}
        if len(known) > 1 or "mV" in self._g_units:
            raise TypeError(
                f"CUBA: the weights that share a synapse are in {self._g_units} (None: plain "
                "numbers), so their currents cannot be compared with pA. Give all weights in "
                "siemens or ampere, or all as plain numbers."
            )
        return known.pop()

    @property
    def scale_mantissa(self) -> Any:
        """What g (in S, or as it is) is multiplied by to give mA."""
        if self.scale is None:
            return VOLT if self._g_units[-1:] == ("S",) else 1.0
        return mantissa(getattr(self.scale, "value", self.scale), "mV", what="CUBA.scale")

    def bind_cond(self, conductance: Any) -> None:
        if unit_name(conductance) == "S":
            self.expect_unit("S")
        super().bind_cond(conductance)

    @property
    def value_mantissa(self) -> Any:
        return self.scale_mantissa

    def linear(self, value: Any = None) -> tuple[Any, Any]:
        g = plain(self._conductance())
        return g * (self.scale_mantissa if value is None else value), None

    def update(self, V: Any = None) -> Any:
        """The current in mA."""
        return self.linear()[0]
