"""Train a spiking network on handwritten digits, in the open: the loop of `spikexla train digits`.

    python examples/03_train_digits.py

Needs scikit-learn (`pip install 'spikexla[all]'`). Reaches about 98 % in a few seconds.
"""

import numpy as np
import optax
import spikexla as sx
from spikexla.train.digits import DigitsNet, encode, load

EPOCHS, BATCH = 20, 64

sx.random.seed(0)
data = load()
net = DigitsNet(hidden=128)
params = net.states(sx.ParamState)
optimizer = sx.optim.Adam(lr=3e-3).register_trainable_weights(params)


def loss(images, labels):
    """The mean cross entropy of one batch."""
    return optax.softmax_cross_entropy_with_integer_labels(net(encode(images)), labels).mean()


@sx.transform.jit
def train_step(images, labels):
    """One step of Adam; the States are updated in place, compiled or not."""
    value, grads = sx.transform.value_and_grad(loss, params)(images, labels)
    optimizer.update(grads)
    return value


@sx.transform.jit
def accuracy(images, labels):
    """The share of images that are read correctly."""
    return (net(encode(images)).argmax(axis=1) == labels).mean()


draw = np.random.default_rng(0)
for epoch in range(EPOCHS):
    order = draw.permutation(len(data.train_y))
    batches = np.array_split(order[: len(order) // BATCH * BATCH], len(order) // BATCH)
    losses = [train_step(data.train_x[rows], data.train_y[rows]) for rows in batches]
    if epoch % 5 == 4:
        share = accuracy(data.test_x, data.test_y)
        print(f"epoch {epoch + 1:2d}: loss {np.mean(losses):.3f}, test accuracy {share:.2%}")
