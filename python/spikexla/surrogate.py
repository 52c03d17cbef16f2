"""Spike functions: the Heaviside step forward, a named smooth slope backward.

Names, operands and formulas are those of braintools.surrogate; the compiled twin is
csrc/surrogate.h, in the same order and letters. A spike happens at equality: `x >= 0`.

>>> import jax, spikexla as sx
>>> spike = sx.surrogate.Sigmoid(alpha=4.0)
>>> float(spike(0.0)), float(jax.grad(spike)(0.0))
(1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

# The slope at x, the scaled distance to threshold, with operands a and b. The order is the ABI.
_SLOPES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "relu_grad": lambda x, a, b: jnp.maximum(a * b - a * jnp.abs(x), 0),
    "sigmoid": lambda x, a, b: a * jax.nn.sigmoid(a * x) * jax.nn.sigmoid(-a * x),
    "arctan": lambda x, a, b: a / 2 / (1 + (jnp.pi / 2 * a * x) ** 2),
    "soft_sign": lambda x, a, b: a / 2 / (1 + a * jnp.abs(x)) ** 2,
    "inv_square_grad": lambda x, a, b: 1 / (1 + a * jnp.abs(x)) ** 2,
    "piecewise_quadratic": lambda x, a, b: jnp.maximum(a - a**2 * jnp.abs(x), 0),
    "piecewise_exp": lambda x, a, b: a / 2 * jnp.exp(-a * jnp.abs(x)),
    "gaussian_grad": lambda x, a, b: b / (a * (2 * jnp.pi) ** 0.5) * jnp.exp(-((x / a) ** 2) / 2),
    "slayer_grad": lambda x, a, b: jnp.exp(-a * jnp.abs(x)),
}
NAMES = tuple(_SLOPES)


@jax.custom_jvp
def heaviside(x: Array, slope: Array) -> Array:
    """1 where `x >= 0`, else 0, in x's dtype; its derivative in x is `slope`."""
    return jnp.where(x >= 0, jnp.ones_like(x), jnp.zeros_like(x))


@heaviside.defjvp
def _(primals, tangents):
    x, slope = primals
    return heaviside(x, slope), slope * tangents[0]


@dataclass(frozen=True)
class Surrogate:
    """A spike function: `spike(x)` is the Heaviside step of `x` with a surrogate derivative.

    Make one with a name below, such as `ReluGrad(alpha=0.3)`. `operands` are two numbers (or traced
    arrays) that the slope takes; a slope that needs one ignores the second.
    """

    name: str
    operands: tuple

    def slope(self, x: Array) -> Array:
        """The derivative that stands in for the step's at `x`."""
        a, b = (jnp.asarray(o, x.dtype) for o in self.operands)
        return _SLOPES[self.name](x, a, b)

    def __call__(self, x: Array) -> Array:
        x = jnp.asarray(x, jnp.result_type(float) if not hasattr(x, "dtype") else None)
        return heaviside(x, self.slope(x))


def make(name: str, a, b=1.0) -> Surrogate:
    """The surrogate of this name with these operands."""
    if name not in _SLOPES:
        raise ValueError(f"no surrogate is named {name!r}. Choose one of: {', '.join(NAMES)}.")
    for operand in (a, b):
        if isinstance(operand, (int, float)) and not operand > 0:
            raise ValueError(f"surrogate {name!r} has operand {operand}; it must be positive.")
    return Surrogate(name, (a, b))


def ReluGrad(alpha: float = 0.3, width: float = 1.0) -> Surrogate:
    """A triangle: slope `max(alpha (width - |x|), 0)`. The default of every model here."""
    return make("relu_grad", alpha, width)


def Sigmoid(alpha: float = 4.0) -> Surrogate:
    """Slope of the logistic function: `alpha s (1 - s)`, `s = 1 / (1 + exp(-alpha x))`."""
    return make("sigmoid", alpha)


def Arctan(alpha: float = 1.0) -> Surrogate:
    """Slope `alpha / 2 / (1 + (pi alpha x / 2)^2)` (Fang et al. 2021, "ATan")."""
    return make("arctan", alpha)


def SoftSign(alpha: float = 1.0) -> Surrogate:
    """Slope `alpha / 2 / (1 + alpha |x|)^2`."""
    return make("soft_sign", alpha)


def InvSquareGrad(alpha: float = 100.0) -> Surrogate:
    """Slope `1 / (1 + alpha |x|)^2` (Zenke & Ganguli 2018, "SuperSpike")."""
    return make("inv_square_grad", alpha)


def PiecewiseQuadratic(alpha: float = 1.0) -> Surrogate:
    """A triangle of unit area: slope `max(alpha - alpha^2 |x|, 0)` (Esser et al. 2016)."""
    return make("piecewise_quadratic", alpha)


def PiecewiseExp(alpha: float = 1.0) -> Surrogate:
    """Slope `alpha / 2 exp(-alpha |x|)`."""
    return make("piecewise_exp", alpha)


def GaussianGrad(sigma: float = 0.5, alpha: float = 0.5) -> Surrogate:
    """Slope `alpha N(x; 0, sigma^2)` (Yin et al. 2021)."""
    return make("gaussian_grad", sigma, alpha)


def SlayerGrad(alpha: float = 1.0) -> Surrogate:
    """Slope `exp(-alpha |x|)` (Shrestha & Orchard 2018)."""
    return make("slayer_grad", alpha)


DEFAULT = ReluGrad()
