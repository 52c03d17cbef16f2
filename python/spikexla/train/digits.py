"""Handwritten digits with one spiking layer, trained through surrogate gradients.

Each image of 8 x 8 pixels becomes 64 spike trains of 16 steps: a pixel of brightness k (0 to 16)
spikes k times, evenly spread, so that nothing of the image is lost. A layer of leaky
integrate-and-fire neurons reads them; 10 leaky integrators read those, and the one with the highest
mean potential is the answer.

Whatever does not depend on the last step stands outside of the loop over time: the input weights
are one matrix product over all steps, and the loop is one call of `ops.neuron_scan`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import backend, init, optim, random, surrogate, transform
from ..module import Module
from ..neuron.lif_step import LIF, Inputs, Params
from ..neuron.lif_step import State as Membrane
from ..ops.neuron_scan import neuron_scan
from ..state import ParamState

STEPS = 16  # of 1 ms
PIXELS, CLASSES, BRIGHTEST = 64, 10, 16.0
TAU = 8.0  # ms, of the spiking layer
TAU_READOUT = 16.0  # ms
SPIKE = surrogate.Arctan(alpha=2.0)


class Digits(NamedTuple):
    """Images and what they show; every fifth image is kept for testing."""

    train_x: np.ndarray  # (images, pixels), brightness 0 to 1
    train_y: np.ndarray  # (images,)
    test_x: np.ndarray
    test_y: np.ndarray


class Report(NamedTuple):
    """How a training run went."""

    accuracy: float  # on the test images, 0 to 1
    epochs: int
    wall_s: float  # training and test, compilation included
    step_ms: float  # median of the training steps after the first, which compiles
    compile_s: float
    backend: str


def load() -> Digits:
    """The 1797 images of scikit-learn, split by a fixed shuffle into 80 % and 20 %."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = (x[order] / BRIGHTEST).astype(np.float32), y[order].astype(np.int32)
    cut = len(y) // 5
    return Digits(x[cut:], y[cut:], x[:cut], y[:cut])


def encode(images: jax.Array) -> jax.Array:
    """Spike trains `(time, images, pixels)` of brightness 0 to 1 `(images, pixels)`."""
    phase = jnp.arange(STEPS + 1, dtype=images.dtype)[:, None, None] * images
    return jnp.diff(jnp.floor(phase + 0.5), axis=0)


class DigitsNet(Module):
    """64 spike trains -> leaky integrate-and-fire neurons -> 10 leaky integrators."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.W_in = ParamState(init.KaimingNormal()((PIXELS, hidden)))
        self.b_in = ParamState(jnp.zeros(hidden))
        self.W_out = ParamState(init.KaimingNormal()((hidden, CLASSES)))
        self.b_out = ParamState(jnp.zeros(CLASSES))

    def update(self, spikes: jax.Array) -> jax.Array:
        """The mean potential of each readout `(batch, 10)` for spikes `(time, batch, 64)`."""
        steps, batch, _ = spikes.shape
        drive = spikes @ self.W_in.value + self.b_in.value
        rest = Membrane(jnp.zeros((batch, drive.shape[-1]), drive.dtype))
        gain = 1 - jnp.exp(-1.0 / TAU)
        zero, one = jnp.zeros(()), jnp.ones(())
        lif = Params(rate=gain, R=one, V_rest=zero, V_th=one, V_reset=zero, scale=one)
        drive = Inputs(I=drive / gain, jump=jnp.zeros((1, 1, 1), drive.dtype))
        _, hidden = neuron_scan(LIF, rest, lif, drive, surrogate=SPIKE)
        # A leaky integrator is linear: its mean over time is a weighted sum of the spikes.
        left = steps - jnp.arange(steps)
        weight = (1 - jnp.exp(-left / TAU_READOUT)) / (1 - jnp.exp(-1 / TAU_READOUT)) / steps
        return jnp.einsum("t,tbh->bh", weight, hidden) @ self.W_out.value + self.b_out.value


class Trainer(Module):
    """A network and the optimiser of its parameters."""

    def __init__(self, net: Module, optimizer: optim.Optimizer) -> None:
        super().__init__()
        self.net, self.params = net, net.states(ParamState)
        self.optimizer = optimizer.register_trainable_weights(self.params)

    def loss(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The mean cross entropy."""
        logits = self.net(encode(images))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def update(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """One step of training; returns the loss before it."""
        loss, grads = transform.value_and_grad(self.loss, self.params)(images, labels)
        self.optimizer.update(grads)
        return loss


def train(
    *,
    epochs: int = 30,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Trains a `DigitsNet` and tests it; `progress(epochs done, epochs)` is told how far it is.

    The same seed gives the same network. Images that do not fill the last batch of an epoch wait
    for the next one; a batch is at most all images.

    >>> train(epochs=10).accuracy > 0.9                                   # doctest: +SKIP
    True
    """
    start = time.perf_counter()
    data = load()
    batch_size = min(batch_size, len(data.train_y))
    random.seed(seed)
    steps = epochs * (len(data.train_y) // batch_size)
    rate = optim.CosineAnnealingLR(4e-3, max(steps, 1)).schedule
    trainer = Trainer(DigitsNet(), optim.Adam(rate))
    step = transform.jit(trainer)
    took: list[float] = []
    for epoch in range(epochs):
        for images, labels in _batches(data, batch_size, seed, epoch):
            before = time.perf_counter()
            jax.block_until_ready(step(images, labels))
            took.append(time.perf_counter() - before)
        if progress is not None:
            progress(epoch + 1, epochs)
    accuracy = float(transform.jit(_accuracy)(trainer.net, data.test_x, data.test_y))
    return Report(
        accuracy=accuracy,
        epochs=epochs,
        wall_s=time.perf_counter() - start,
        step_ms=float(np.median(took[1:] or took)) * 1e3,
        compile_s=took[0],
        backend=backend.current(),
    )


def _batches(data: Digits, size: int, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
    order = np.random.default_rng((seed, epoch)).permutation(len(data.train_y))
    for first in range(0, len(order) - size + 1, size):
        rows = order[first : first + size]
        yield data.train_x[rows], data.train_y[rows]


def _accuracy(net: Module, images: jax.Array, labels: jax.Array) -> jax.Array:
    return (net(encode(images)).argmax(axis=1) == labels).mean()
