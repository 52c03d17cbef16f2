"""`placed`: a run takes place where the States are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

from ..module import Module


@contextlib.contextmanager
def placed(net: Module, inputs: tuple) -> Iterator[int]:
    """Within, JAX computes on the device that States and inputs are bound to; gives their number.

    Arrays are bound by `jax.device_put(x, device)`; without such, the device is JAX's default, and
    if they are spread over several, these compute. ValueError, by name, for some here and some
    there.
    """
    bound = {}  # the devices, and the first that is there
    for name, value in _named(net, inputs):
        for x in jax.tree.leaves(value):
            if isinstance(x, jax.Array) and x.committed:
                bound.setdefault(frozenset(x.devices()), name)
    if len(bound) > 1:
        (here, a), (there, b), *_ = ((name, _spelled(its)) for its, name in bound.items())
        raise ValueError(
            f"simulate: {here} is on {a}, but {there} is on {b}. Put all of them on one device: "
            "state.value = jax.device_put(state.value, device)."
        )
    devices = next(iter(bound), frozenset())
    if len(devices) != 1:
        yield len(devices)
        return
    with jax.default_device(*devices):
        yield 1


def _named(net: Module, inputs: tuple) -> Iterator[tuple[str, Any]]:
    yield from ((str(path), state.value) for path, state in net.states().items())
    yield from ((f"inputs[{k}]", x) for k, x in enumerate(inputs))


def _spelled(devices: frozenset) -> str:
    return ", ".join(sorted(map(str, devices)))
