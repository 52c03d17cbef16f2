"""Worlds that a function reaches, and changes in place of them: what kept programs must notice.

A `World` has one number behind each of `PATHS`; a reader gives the product of all of them, so that
whatever changes anywhere changes the answer.  Nothing in here says how the package compares.
"""

from __future__ import annotations

import collections
import functools
import types
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import spikexla as sx
from spikexla.transform import cond, for_loop, grad, jit, scan, vmap

other = types.ModuleType("kept_other_module")
GAIN = [1.0]


class Plain:
    gain = 1.0
    table: ClassVar = {"k": [1.0]}

    def __init__(self):
        self.gain_of_its_own = 1.0
        self.nested = {"a": [{"b": np.ones(3)}, (1.0, [1.0])]}


class Slotted:
    __slots__ = ("gain",)

    def __init__(self):
        self.gain = 1.0


class Net(sx.nn.Module):
    factor = 1.0

    def __init__(self):
        super().__init__()
        self.setting = 1.0
        self.config = {"gain": 1.0, "list": [1.0, 2.0]}
        self.array = np.ones(4, np.float32)
        self.big = np.ones(30_000, np.float32)
        self.plain, self.slotted = Plain(), Slotted()
        self.parts = [sx.nn.Module()]
        self.parts[0].deep = 1.0
        self.scale = functools.partial(lambda table, x: table[0] * x, [1.0])
        self.V = sx.ShortTermState(jnp.zeros(()))

    def product(self):
        a = self.setting * self.factor * self.config["gain"] * self.config["list"][0]
        b = self.array[1] * self.big[-1] * self.plain.gain_of_its_own * self.slotted.gain
        return a * b * self.parts[0].deep * self.scale(1.0)

    def update(self, x):
        self.V.value = self.V.value + x
        return x * self.product()


class World:
    """What a function below reaches: `read(x)` is `x` times all that can be changed."""

    def __init__(self):
        self.net, self.table, self.cell = Net(), [[1.0, (2.0, {"c": 1.0})]], 1.0
        self.values, self.default = np.ones((3, 4)), [1.0]
        self.ready = {1.0: True}
        self.ordered, self.queue = collections.OrderedDict(a=1.0, b=2.0), collections.deque([1.0])
        self.mixed = np.array([1.0, "x"], dtype=object)
        Plain.gain, Plain.table["k"][0], Net.factor, GAIN[0], other.GAIN = (1.0,) * 5
        other.inner = types.SimpleNamespace(gain=1.0)

    def reader(self):
        """The same code, made anew, as a lambda in a user's loop is."""
        net, table, values, gain, ready = self.net, self.table, self.values, self.cell, self.ready
        odd = self.ordered, self.queue, self.mixed

        def read(x, default=self.default):
            y = net(x) * table[0][1][1]["c"] * values[1:3, 2][1] * gain * default[0]
            y = y * Plain.gain * Plain.table["k"][0] * GAIN[0] * other.GAIN * other.inner.gain
            nested = net.plain.nested["a"]
            y = y * odd[0]["a"] * odd[1][0] * odd[2][0]
            return y * nested[0]["b"][2] * nested[1][1][0] * len(ready)

        return read


def put(owner, key, value):
    owner[key] = value


# Each puts a number where there was one, without making the things that hold it anew.
CHANGES = {
    "Module setting": lambda w, v: setattr(w.net, "setting", v),
    "Module dict item": lambda w, v: put(w.net.config, "gain", v),
    "Module list in dict": lambda w, v: put(w.net.config["list"], 0, v),
    "Module numpy element": lambda w, v: put(w.net.array, 1, v),
    "large numpy element": lambda w, v: put(w.net.big, -1, v),
    "attribute of an object": lambda w, v: setattr(w.net.plain, "gain_of_its_own", v),
    "slot of an object": lambda w, v: setattr(w.net.slotted, "gain", v),
    "Module in a list": lambda w, v: setattr(w.net.parts[0], "deep", v),
    "argument of a partial": lambda w, v: put(w.net.scale.args[0], 0, v),
    "class of the Module": lambda w, v: setattr(Net, "factor", v),
    "class of an object": lambda w, v: setattr(Plain, "gain", v),
    "list of a class": lambda w, v: put(Plain.table["k"], 0, v),
    "dict in a tuple in a list": lambda w, v: put(w.table[0][1][1], "c", v),
    "slice of an array": lambda w, v: put(w.values, (slice(2, 3), 2), v),
    "number in a closure": lambda w, v: setattr(w, "cell", v),
    "default of an argument": lambda w, v: put(w.default, 0, v),
    "item of a global": lambda w, v: put(GAIN, 0, v),
    "global of another module": lambda w, v: setattr(other, "GAIN", v),
    "object in another module": lambda w, v: setattr(other.inner, "gain", v),
    "array in nested containers": lambda w, v: put(w.net.plain.nested["a"][0]["b"], 2, v),
    "list in nested containers": lambda w, v: put(w.net.plain.nested["a"][1][1], 0, v),
    "item of an ordered dict": lambda w, v: put(w.ordered, "a", v),
    "item of a deque": lambda w, v: put(w.queue, 0, v),
    "item of an array of objects": lambda w, v: put(w.mixed, 0, v),
    "one more item of a dict": lambda w, v: put(w.ready, v, True),
    "keys of a dict": lambda w, v: (w.ready.clear(), w.ready.update(dict.fromkeys([1.0, v]))),
}

XS = jnp.asarray([1.0, 2.0, 3.0])


class Ways:
    """The ways in which a world is read by a program that is kept."""

    def __init__(self, world):
        read = world.reader()
        self.world = world
        self.kept = jit(read), jit(lambda net, x: net.update(x) * read(1.0)), grad(read)

    def __call__(self, way):
        read, (jitted, with_module, gradient) = self.world.reader(), self.kept
        return {
            "for_loop": lambda: for_loop(lambda x: read(x), XS),
            "scan": lambda: scan(lambda c, x: (c, read(x)), 0.0, XS)[1],
            "vmap": lambda: vmap(lambda x: read(x), out_states=self.world.net.V)(XS),
            "grad": lambda: gradient(2.0),
            "fresh grad": lambda: grad(lambda x: read(x))(2.0),
            "cond": lambda: cond(True, lambda x: read(x), lambda x: x, 3.0),
            "jit": lambda: jitted(2.0),
            "jit with the Module": lambda: with_module(self.world.net, 2.0),
            "loop over the Module": lambda: for_loop(self.world.net, XS),
        }[way]()


# What each way gives for a world whose product is p, and whose Module's own product is m.
RIGHT = {
    "for_loop": lambda p, m: XS * p,
    "scan": lambda p, m: XS * p,
    "vmap": lambda p, m: XS * p,
    "grad": lambda p, m: p,
    "fresh grad": lambda p, m: p,
    "cond": lambda p, m: 3.0 * p,
    "jit": lambda p, m: 2.0 * p,
    "jit with the Module": lambda p, m: 2.0 * m * p,
    "loop over the Module": lambda p, m: XS * m,
}
NOT_REMADE = ("number in a closure",)  # a function that was made has its own
ONCE = ("grad", "jit", "jit with the Module")  # ways with a function that is made once


def agree(world, ways, way, what):
    """Raises if the way of reading gives another answer than Python without any program."""
    read = world.reader()
    with sx.config.context(cache_eager=False):
        before = world.net.V.value
        product, of_net = float(read(1.0)), float(world.net.product())
        world.net.V.value = before
    if way in ONCE:
        product /= world.cell
    np.testing.assert_allclose(
        ways(way), RIGHT[way](product, of_net), rtol=1e-5, err_msg=f"{way} after {what}"
    )
