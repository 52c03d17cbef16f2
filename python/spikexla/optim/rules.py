"""The optimisers, by their names in PyTorch and braintools: each a rule of optax and its options.

All of them take the keywords of `Optimizer` too, `learning_rate=` for `lr=` among them.
"""

from __future__ import annotations

from typing import Unpack

from .group import Rate
from .optimizer import Common, Optimizer

Betas = tuple[float, float]


class SGD(Optimizer):
    """Gradient descent, with momentum if given (Robbins and Monro, 1951)."""

    def __init__(
        self,
        lr: Rate | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = {"momentum": momentum or None, "nesterov": nesterov}
        super().__init__(lr, "sgd", options, **common)


class Momentum(Optimizer):
    """Gradient descent with momentum (Polyak, 1964)."""

    def __init__(
        self, lr: Rate | None = None, momentum: float = 0.9, **common: Unpack[Common]
    ) -> None:
        super().__init__(lr, "sgd", {"momentum": momentum}, **common)


class MomentumNesterov(Optimizer):
    """Gradient descent with momentum that looks ahead (Nesterov, 1983)."""

    def __init__(
        self, lr: Rate | None = None, momentum: float = 0.9, **common: Unpack[Common]
    ) -> None:
        super().__init__(lr, "sgd", {"momentum": momentum, "nesterov": True}, **common)


class Adam(Optimizer):
    """Steps of the mean gradient over the root of its mean square (Kingma and Ba, 2015).

    `amsgrad` divides by the largest mean square so far (Reddi et al., 2018).
    """

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "amsgrad" if amsgrad else "adam", _adam(betas, eps), **common)


class AdamW(Optimizer):
    """Adam with a weight decay that does not go through the gradient (Loshchilov and Hutter, 2019).

    `weight_decay` is 0.01 unless given.
    """

    decay_argument = "weight_decay"

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        common.setdefault("weight_decay", 0.01)
        super().__init__(lr, "adamw", _adam(betas, eps), **common)


class Nadam(Optimizer):
    """Adam that looks ahead (Dozat, 2016)."""

    default_lr = 2e-3

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "nadam", _adam(betas, eps), **common)


class RAdam(Optimizer):
    """Adam whose first steps are corrected for their variance (Liu et al., 2020)."""

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "radam", _adam(betas, eps), **common)


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba, 2015)."""

    default_lr = 2e-3

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "adamax", _adam(betas, eps), **common)


class AdaBelief(Optimizer):
    """Adam with the mean square of what was not expected of the gradient (Zhuang et al., 2020)."""

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-16,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "adabelief", _adam(betas, eps), **common)


class Yogi(Optimizer):
    """Adam whose mean square grows slowly (Zaheer et al., 2018)."""

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-3,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "yogi", _adam(betas, eps), **common)


class Adan(Optimizer):
    """Adam with a mean of the gradient's changes (Xie et al., 2022)."""

    decay_argument = "weight_decay"

    def __init__(
        self,
        lr: Rate | None = None,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        options = {**_adam(betas[:2], eps), "b3": betas[2]}
        super().__init__(lr, "adan", options, **common)


class Lamb(Optimizer):
    """Adam whose step is in proportion to each parameter's norm (You et al., 2020)."""

    decay_argument = "weight_decay"

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "lamb", _adam(betas, eps), **common)


class Lars(Optimizer):
    """Momentum whose step is in proportion to each parameter's norm (You et al., 2017)."""

    default_lr = 1.0
    decay_argument = "weight_decay"

    def __init__(
        self,
        lr: Rate | None = None,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        options = {"momentum": momentum, "trust_coefficient": trust_coefficient, "eps": eps}
        super().__init__(lr, "lars", options, **common)


class Lion(Optimizer):
    """Steps of the sign of the mean gradient (Chen et al., 2023)."""

    default_lr = 1e-4
    decay_argument = "weight_decay"

    def __init__(
        self, lr: Rate | None = None, betas: Betas = (0.9, 0.99), **common: Unpack[Common]
    ) -> None:
        super().__init__(lr, "lion", {"b1": betas[0], "b2": betas[1]}, **common)


class Novograd(Optimizer):
    """Adam with one mean square for each parameter array (Ginsburg et al., 2019)."""

    decay_argument = "weight_decay"

    def __init__(
        self,
        lr: Rate | None = None,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "novograd", _adam(betas, eps), **common)


class Adagrad(Optimizer):
    """Steps over the root of the sum of all squared gradients (Duchi et al., 2011)."""

    default_lr = 1e-2

    def __init__(
        self,
        lr: Rate | None = None,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        options = {"initial_accumulator_value": initial_accumulator_value, "eps": eps}
        super().__init__(lr, "adagrad", options, **common)


class Adadelta(Optimizer):
    """Steps in proportion to past steps over past gradients (Zeiler, 2012)."""

    default_lr = 1.0

    def __init__(
        self,
        lr: Rate | None = None,
        rho: float = 0.9,
        eps: float = 1e-6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, "adadelta", {"rho": rho, "eps": eps}, **common)


class RMSprop(Optimizer):
    """Steps over the root of the mean squared gradient (Hinton, 2012).

    `alpha` is the part of the mean that is kept; `centered` takes off the square of the mean.
    """

    default_lr = 1e-2

    def __init__(
        self,
        lr: Rate | None = None,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = {"decay": alpha, "eps": eps, "centered": centered, "momentum": momentum or None}
        super().__init__(lr, "rmsprop", options, **common)


class Rprop(Optimizer):
    """Steps of a size that grows while the sign stays (Riedmiller and Braun, 1993).

    `lr` is the size of the first step; later changes of it have no effect.
    """

    default_lr = 1e-2

    def __init__(
        self,
        lr: Rate | None = None,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        **common: Unpack[Common],
    ) -> None:
        options = {
            "eta_minus": etas[0],
            "eta_plus": etas[1],
            "min_step_size": step_sizes[0],
            "max_step_size": step_sizes[1],
        }
        super().__init__(lr, "rprop", options, **common)


class Adafactor(Optimizer):
    """RMSprop that remembers rows and columns of large matrices only (Shazeer and Stern, 2018).

    Steps are in proportion to the size of the parameter, and cut off at `clip_threshold`.
    """

    default_lr = 1e-2
    decay_argument = "weight_decay_rate"

    def __init__(
        self,
        lr: Rate | None = None,
        eps: float = 1e-30,
        clip_threshold: float | None = 1.0,
        decay_rate: float = 0.8,
        momentum: float | None = None,
        factored: bool = True,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "eps": eps,
            "clipping_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "momentum": momentum,
            "factored": factored,
        }
        super().__init__(lr, "adafactor", options, **common)


class SM3(Optimizer):
    """Adagrad that remembers rows and columns only (Anil et al., 2019)."""

    default_lr = 1.0

    def __init__(
        self, lr: Rate | None = None, momentum: float = 0.9, **common: Unpack[Common]
    ) -> None:
        super().__init__(lr, "sm3", {"momentum": momentum}, **common)


class Fromage(Optimizer):
    """Steps in proportion to each parameter's norm, which cannot grow by them (Bernstein, 2020)."""

    default_lr = 1e-2

    def __init__(self, lr: Rate | None = None, **common: Unpack[Common]) -> None:
        super().__init__(lr, "fromage", {}, **common)


class LBFGS(Optimizer):
    """The quasi-Newton method of limited memory, with steps of `lr` and without a line search.

    For smooth losses of the whole data (Liu and Nocedal, 1989).
    """

    default_lr = 1.0

    def __init__(
        self,
        lr: Rate | None = None,
        memory_size: int = 10,
        scale_init_precond: bool = True,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "memory_size": memory_size,
            "scale_init_precond": scale_init_precond,
            "linesearch": None,
        }
        super().__init__(lr, "lbfgs", options, **common)


def _adam(betas: tuple[float, ...], eps: float) -> dict[str, float]:
    if len(betas) != 2 or not all(0.0 <= b < 1.0 for b in betas):
        raise ValueError(f"betas are two numbers from 0 to below 1, got {betas}")
    return {"b1": betas[0], "b2": betas[1], "eps": eps}
