"""Initialisers whose variance goes with the number of connections, on those of jax."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Literal, NamedTuple

import jax

from .. import random
from .initializers import Initializer

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["normal", "uniform", "truncated_normal"]


class _Law(NamedTuple):
    gain: float
    mode: Mode
    distribution: Distribution
    in_axis: int
    out_axis: int

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        # jax asks for two axes; a vector is a matrix of one row and one column less.
        vector = len(shape) == 1
        gain = self.gain
        full = (shape[0], 1) if vector else shape
        if vector and self.mode != "fan_in":  # its length counts as both fans
            gain = gain * (1 if self.mode == "fan_out" else (shape[0] + 1) / 2) / max(shape[0], 1)
        make = jax.nn.initializers.variance_scaling(
            gain,
            self.mode,
            self.distribution,
            -2 if vector else self.in_axis,
            -1 if vector else self.out_axis,
            dtype=dtype,
        )
        return make(key, full).reshape(shape)


@dataclasses.dataclass(frozen=True)
class _Scaling(Initializer):
    """Variance `gain / fan`, where a fan counts the connections of one unit.

    `out_axis` are the units connected to, `in_axis` those connected from; other axes are the
    receptive field.  A vector counts its length as both.
    """

    in_axis: int = dataclasses.field(default=-2, kw_only=True)
    out_axis: int = dataclasses.field(default=-1, kw_only=True)

    @abc.abstractmethod
    def law(self) -> tuple[float, Mode, Distribution]:
        """The gain, the fan and the distribution to draw from."""

    def make(self, shape: tuple[int, ...], dtype: Any, key: Any) -> Any:
        if not shape:
            raise ValueError(f"{type(self).__name__} needs a shape of one axis or more, got ()")
        law = _Law(*self.law(), self.in_axis, self.out_axis)
        return random.DEFAULT.draw(law, (), shape, key, dtype)


@dataclasses.dataclass(frozen=True)
class VarianceScaling(_Scaling):
    """Variance `scale / fan`, of the fan and the distribution given."""

    scale: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("mode", self.mode, ("fan_in", "fan_out", "fan_avg")),
            ("distribution", self.distribution, ("normal", "uniform", "truncated_normal")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.scale, self.mode, self.distribution


@dataclasses.dataclass(frozen=True)
class XavierNormal(_Scaling):
    """Normal with variance `scale * 2 / (fan_in + fan_out)` (Glorot and Bengio, 2010)."""

    scale: float = 1.0

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.scale, "fan_avg", "normal"


@dataclasses.dataclass(frozen=True)
class XavierUniform(_Scaling):
    """Uniform with variance `scale * 2 / (fan_in + fan_out)` (Glorot and Bengio, 2010)."""

    scale: float = 1.0

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.scale, "fan_avg", "uniform"


@dataclasses.dataclass(frozen=True)
class LecunNormal(_Scaling):
    """Normal with variance `scale / fan_in` (LeCun et al., 1998)."""

    scale: float = 1.0

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.scale, "fan_in", "normal"


@dataclasses.dataclass(frozen=True)
class LecunUniform(_Scaling):
    """Uniform with variance `scale / fan_in` (LeCun et al., 1998)."""

    scale: float = 1.0

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.scale, "fan_in", "uniform"


@dataclasses.dataclass(frozen=True)
class _Kaiming(_Scaling):
    """Variance `scale / fan`; `scale` is 2 for 'relu', `2 / (1 + slope ** 2)` for 'leaky_relu'."""

    scale: float | None = None
    mode: Mode = "fan_in"
    nonlinearity: Literal["relu", "leaky_relu"] = "relu"
    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("relu", "leaky_relu"):
            raise ValueError(
                f"nonlinearity must be 'relu' or 'leaky_relu', got {self.nonlinearity!r}; "
                "for others give `scale`"
            )

    @property
    def gain(self) -> float:
        """The variance times the fan."""
        if self.scale is not None:
            return self.scale
        return 2.0 if self.nonlinearity == "relu" else 2.0 / (1 + self.negative_slope**2)


@dataclasses.dataclass(frozen=True)
class KaimingNormal(_Kaiming):
    """Normal with variance `scale / fan`, 2 / fan_in by default, for ReLU (He et al., 2015)."""

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.gain, self.mode, "normal"


@dataclasses.dataclass(frozen=True)
class KaimingUniform(_Kaiming):
    """Uniform with variance `scale / fan`, 2 / fan_in by default, for ReLU (He et al., 2015)."""

    def law(self) -> tuple[float, Mode, Distribution]:
        return self.gain, self.mode, "uniform"
