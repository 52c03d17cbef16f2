"""What the tests of optimisers share: each optimiser, its rule in optax and its numbers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from spikexla import ParamState, ShortTermState, nn, optim

W = np.linspace(-1, 1, 6).reshape(2, 3)


# Each optimiser, what it is in optax, and the parameter after five steps of `drive` where
# braintools 0.4 has the same rule (in double precision).
CASES = {
    "SGD": (
        lambda: optim.SGD(0.1, 0.9, True, weight_decay=0.01),
        optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, 0.9, True)),
        (-1.13373594, -0.209249827, 0.365228529, 0.423120432, 0.272794389, 0.414053527),
    ),
    "Momentum": (
        lambda: optim.Momentum(0.1),
        optax.sgd(0.1, 0.9),
        (-1.22908123, -0.314032264, 0.338099288, 0.495504836, 0.381224601, 0.468085459),
    ),
    "MomentumNesterov": (
        lambda: optim.MomentumNesterov(0.1), optax.sgd(0.1, 0.9, nesterov=True), None,
    ),
    "Adam": (
        lambda: optim.Adam(0.1, (0.8, 0.99), weight_decay=0.01),
        optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.1, 0.8, 0.99)),
        (-1.16656647, -0.528747144, 0.146561832, 0.396924994, 0.567382182, 0.640465656),
    ),
    "Adam amsgrad": (
        lambda: optim.Adam(0.1, amsgrad=True),
        optax.amsgrad(0.1),
        (-1.18221783, -0.558123258, 0.149887972, 0.4066065, 0.593842966, 0.639124748),
    ),
    "AdamW": (
        lambda: optim.AdamW(0.1, weight_decay=0.1),
        optax.adamw(0.1, weight_decay=0.1),
        (-1.1500556, -0.521963919, 0.16484455, 0.415630481, 0.563914865, 0.589724516),
    ),
    "Nadam": (lambda: optim.Nadam(0.1), optax.nadam(0.1), None),
    "RAdam": (
        lambda: optim.RAdam(0.1),
        optax.radam(0.1),
        (-1.18221784, -0.554483207, 0.0314034912, 0.404538887, 0.589622174, 0.784246786),
    ),
    "Adamax": (
        lambda: optim.Adamax(0.1),
        optax.adamax(0.1),
        (-1.18226002, -0.602460522, 0.0918833609, 0.40670307, 0.628873723, 0.704641939),
    ),
    "AdaBelief": (
        lambda: optim.AdaBelief(0.1),
        optax.adabelief(0.1),
        (-1.23444177, -0.549199122, 0.219611538, 0.465258378, 0.597289134, 0.574353864),
    ),
    "Yogi": (
        lambda: optim.Yogi(0.1),
        optax.yogi(0.1),
        (-1.20628844, -0.553913179, 0.163228829, 0.432987957, 0.596858773, 0.631093361),
    ),
    "Adan": (
        lambda: optim.Adan(0.1, weight_decay=0.1), optax.adan(0.1, weight_decay=0.1), None,
    ),
    "Lamb": (
        lambda: optim.Lamb(0.1, weight_decay=0.01),
        optax.lamb(0.1, weight_decay=0.01),
        (-1.12611371, -0.441102256, 0.165395422, 0.366271787, 0.484112763, 0.614147321),
    ),
    "Lars": (
        lambda: optim.Lars(0.1, weight_decay=0.01),
        optax.lars(0.1, 0.01, eps=1e-8),
        (-1.0002199, -0.599726149, -0.199477149, 0.200293487, 0.599791949, 0.999474662),
    ),
    "Lion": (
        lambda: optim.Lion(0.01, weight_decay=0.1),
        optax.lion(0.01, weight_decay=0.1),
        (-0.98497007, -0.587026014, -0.189081898, 0.188962078, 0.587026014, 0.96510989),
    ),
    "Novograd": (
        lambda: optim.Novograd(0.1, (0.9, 0.5)),
        optax.novograd(0.1, 0.9, 0.5, 1e-8),
        (-1.1359186, -0.43590939, 0.113235667, 0.374393297, 0.475214533, 0.690762953),
    ),
    "Adagrad": (
        lambda: optim.Adagrad(0.1),
        optax.adagrad(0.1, 0.0, 1e-10),
        (-1.01127752, -0.529159393, -0.0375747265, 0.226303256, 0.53679043, 0.81402049),
    ),
    "Adadelta": (
        lambda: optim.Adadelta(1.0),
        optax.adadelta(1.0, 0.9, 1e-6),
        (-0.997495881, -0.59421189, -0.195317795, 0.198160106, 0.594718445, 0.993939497),
    ),
    "RMSprop": (
        lambda: optim.RMSprop(0.05, 0.9, momentum=0.5, centered=True),
        optax.rmsprop(0.05, 0.9, 1e-8, centered=True, momentum=0.5),
        (-1.14679706, -0.40235157, 0.43178585, 0.400194671, 0.441565516, 0.30506629),
    ),
    "Rprop": (
        lambda: optim.Rprop(0.01), optax.rprop(0.01), (-1.004, -0.595, -0.178, 0.204, 0.595, 0.978),
    ),
    "Adafactor": (
        lambda: optim.Adafactor(0.1, weight_decay=0.1),
        optax.adafactor(0.1, weight_decay_rate=0.1),
        None,
    ),
    "SM3": (lambda: optim.SM3(0.1), optax.sm3(0.1), None),
    "Fromage": (lambda: optim.Fromage(0.1), optax.fromage(0.1), None),
    "LBFGS": (lambda: optim.LBFGS(0.1), optax.lbfgs(0.1, linesearch=None), None),
    "OptaxOptimizer": (lambda: optim.OptaxOptimizer(optax.adam, 0.1), optax.adam(0.1), None),
    "OptaxOptimizer made": (lambda: optim.OptaxOptimizer(optax.sgd(0.1)), optax.sgd(0.1), None),
    "clipped": (
        lambda: optim.SGD(0.1, grad_clip_norm=0.5, grad_clip_value=0.2),
        optax.chain(optax.clip_by_global_norm(0.5), optax.clip(0.2), optax.sgd(0.1)),
        (-0.984850373, -0.572980158, -0.177670478, 0.191285803, 0.574963794, 0.975947075),
    ),
}  # fmt: skip


def drive(k):
    return {"w": jnp.cos(k + jnp.arange(6.0)).reshape(2, 3), "b": jnp.sin(k + jnp.arange(2.0))}


def start():
    return {"w": ParamState(jnp.asarray(W)), "b": ParamState(jnp.ones(2))}


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = ParamState(jnp.ones((3, 2)))
        self.b = ParamState(jnp.zeros(2))
        self.V = ShortTermState(jnp.zeros(2))

    def update(self, x):
        return x @ self.W.value + self.b.value
