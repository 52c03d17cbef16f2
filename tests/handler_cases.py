"""Direct calls of every XLA handler: the right ones, and the wrong ones next to each.

The right calls are those that the ops make. A wrong one changes the type or the shape of one
array or result, leaves one out, or takes an attribute to an extreme.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from spikexla.connect import CSR, FixedFanOut
from spikexla.neuron import lif_step
from spikexla.ops import network_run, neuron_scan, reset, spike_matvec
from spikexla.ops.network_probe import Probe
from spikexla.ops.network_run import Poisson, Population, Port
from spikexla.ops.poisson import generators, poisson_thresholds
from spikexla.ops.wiring import Projection, pack

EXTREMES = (-(2**63), -1, 0, 1, 2**31, 2**32, 2**48 + 1, 2**63 - 1)


# What is next to a right call and right too: (handler, change), with the reason.
RIGHT_TOO = (
    # One state: that is a call without checkpoints.
    (r"forward", r"results without the last"),
    # A gradient that nobody wants.
    (r"backward", r"results\[\d+\] with axis \d of 0"),
    # Spikes may be events.
    (r"matvec.forward", r"args\[4\] as bool"),
    # An operand that every item has its own of, or a gradient that is not summed over items.
    (r"matvec", r"(args|results)\[\d\] with axis 0 longer: \(2,"),
    # More targets, which no synapse reaches.
    (r"matvec.*vjp", r"args\[3\] with axis 1 longer"),
    # No targets: rows point outside, which the CPU reports and a GPU leaves out.
    (r"matvec.*vjp", r"args\[3\] with axis 1 of 0"),
    # One value for all neurons; thresholds, as many as wanted; targets of 32 bits.
    (r"network", r"args\[\d+\] with an axis more: \(1,\)"),
    (r"network", r"args\[\d+\] with an axis less: \(\)"),
    (r"network", r"args\[\d+\] with axis 0 (longer: \(12,\)|of 0: \(0,\))"),
    (r"network", r"args\[\d+\] as uint32"),
    # A raster that nobody wants.
    (r"network", r"results\[\d+\] with axis 0 of 0"),
    # A value for fewer axes, a mask for all trials.
    (r"reset", r"args\[[34]\] with an axis less"),
)


def right_too(call: Call, what: str) -> bool:
    """Whether the changed call is right, or never made: XLA drops one without results."""
    if not any(np.prod(r.shape) for r in call.results):
        return True
    return any(re.search(h, call.name) and re.match(c, what) for h, c in RIGHT_TOO)


class Call(NamedTuple):
    """What a handler is given."""

    name: str
    args: list[np.ndarray]
    results: list[jax.ShapeDtypeStruct]
    attributes: dict[str, Any]

    def run(self, prefix: str = "") -> list[np.ndarray]:
        """The results; raises what XLA makes of the handler's error."""
        with jax.enable_x64(True):
            f = jax.ffi.ffi_call(prefix + self.name, self.results)
            out = jax.jit(lambda *args: f(*args, **self.attributes))(*self.args)
            return [np.asarray(x) for x in out]


def right_calls(models: list) -> list[Call]:
    """The calls that ops of small shapes make, one or more of each handler."""
    calls = []
    with _recorded(calls):
        for model in models:
            _scan(model)
        _matvec()
        _network()
        jax.jit(lambda a, b, m: reset([a, b], [0.5, jnp.ones(3)], mask=m, backend="native"))(
            jnp.zeros((2, 3)), jnp.zeros((2, 3, 3)), jnp.array([True, False])
        )
    return calls


def wrong_calls(call: Call) -> list[tuple[str, Call]]:
    """(what was changed, the call) for everything next to a right call."""
    changed = []
    for part in ("args", "results"):
        for k, x in enumerate(getattr(call, part)):
            for how, y in _next_to(x, part == "results"):
                given = list(getattr(call, part))
                given[k] = y
                changed.append((f"{part}[{k}] {how}", call._replace(**{part: given})))
        given = getattr(call, part)
        changed.append((f"{part} without the last", call._replace(**{part: given[:-1]})))
        changed.append((f"{part} with one more", call._replace(**{part: [*given, given[-1]]})))
    for name, value in call.attributes.items():
        for other in _extremes(value):
            attributes = call.attributes | {name: other}
            changed.append((f"{name}={other}", call._replace(attributes=attributes)))
    return changed


def _next_to(x, is_result):
    """(what is different, the array or result)."""
    types = (np.float32, np.float64, np.float16, np.int32, np.uint32, np.bool_)
    for dtype in types:
        if dtype != x.dtype:
            yield f"as {np.dtype(dtype).name}", _as(x, x.shape, dtype)
    shape = tuple(x.shape)
    shapes = {
        f"with axis {k} longer": (*shape[:k], n + 1, *shape[k + 1 :]) for k, n in enumerate(shape)
    }
    shapes["with an axis more"] = (1, *shape)
    if shape:
        shapes["with an axis less"] = shape[1:]
    for k, n in enumerate(shape):
        if is_result and n > 1:
            shapes[f"with axis {k} of 1"] = (*shape[:k], 1, *shape[k + 1 :])
        if n > 0:
            shapes[f"with axis {k} of 0"] = (*shape[:k], 0, *shape[k + 1 :])
    for how, other in shapes.items():
        yield f"{how}: {other}", _as(x, other, x.dtype)


def _as(x, shape, dtype):
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(shape, dtype)
    with np.errstate(all="ignore"):  # numbers mean nothing in another type
        return np.resize(x, shape).astype(dtype) if x.size else np.zeros(shape, dtype)


def _extremes(value):
    if isinstance(value, np.ndarray):  # the plan of a network: one number at a time
        for k in range(len(value)):
            for n in EXTREMES:
                other = value.copy()
                other[k] = n
                yield other
        yield value[:-1]
        yield np.append(value, 0)
    elif isinstance(value, bool):
        yield np.int64(1)
    else:
        info = np.iinfo(value.dtype)
        for n in EXTREMES:
            if info.min <= n <= info.max:
                yield value.dtype.type(n)
        yield float(value)


@contextlib.contextmanager
def _recorded(calls):
    """Appends every call of a handler, with the values of its arrays, to `calls`."""
    real = jax.ffi.ffi_call

    def ffi_call(name, results, **options):
        call = real(name, results, **options)
        results = [jax.ShapeDtypeStruct(r.shape, r.dtype) for r in jax.tree.leaves(results)]

        def with_a_note(*args, **attributes):
            def note(*values):
                calls.append(Call(name, [np.asarray(v) for v in values], results, attributes))

            jax.debug.callback(note, *args)
            return call(*args, **attributes)

        return with_a_note

    jax.clear_caches()  # of traced programs, which would make no call anew
    jax.ffi.ffi_call = ffi_call
    try:
        yield
        jax.effects_barrier()
    finally:
        jax.ffi.ffi_call = real
        jax.clear_caches()


def _scan(kernel):
    """Values and gradients of 5 steps of (3, 4) lanes."""
    lanes = (3, 4)
    state = [jnp.zeros(lanes) for _ in kernel.State._fields]
    params = [jnp.full(lanes, x) for x in (0.3, 1.0, 0.0, 1.0, 0.1, 1.1, 2.0)]
    params = params[: len(kernel.Params._fields)]
    inputs = [jnp.full((5, *lanes), 0.7) for _ in kernel.Inputs._fields]

    def loss(state, params, inputs):
        last, spikes = neuron_scan(
            kernel, kernel.State(*state), kernel.Params(*params), kernel.Inputs(*inputs),
            checkpoint_every=2, backend="native",
        )  # fmt: skip
        return sum(x.sum() for x in last) + spikes.sum()

    jax.jit(loss)(state, params, inputs)
    jax.jit(jax.grad(loss, (0, 1, 2)))(state, params, inputs)


def _matvec():
    fan = FixedFanOut(np.array([[0, 2], [1, 3], [0, 4]], np.int32), 5)
    csr = CSR(np.array([0, 2, 3, 5], np.int32), np.array([0, 2, 1, 3, 4], np.int32), 5)
    for conn in (fan, csr):
        weights = jnp.arange(1.0, 1 + conn.indices.size).reshape(conn.indices.shape)
        spikes, init = jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), jnp.ones((2, 5))

        def loss(weights, spikes, init, conn=conn):
            return (spike_matvec(conn, weights, spikes, init=init, backend="native") ** 2).sum()

        jax.jit(jax.grad(loss, (0, 1, 2)))(weights, spikes, init)


def _network():
    """Two populations of 70 neurons, with delays, a Poisson input and a probe."""
    n, kernel = 70, lif_step.LIF
    ring = FixedFanOut(((np.arange(n) + 1) % n).astype(np.int32)[:, None], n)
    wired = [Projection(0, 0, n, 1, 0, ring, 0.5, 1), Projection(1, 0, n, 0, 0, ring, 0.5, 3)]
    wiring = pack([n, n], [1, 1], wired, np.float32)
    params = kernel.Params(*map(jnp.float32, (0.1, 1.0, 0.0, 1.0, 0.0, 1.0)))
    poisson = Poisson(
        0, jnp.asarray(generators(1, n)), jnp.asarray(poisson_thresholds(0.5)), jnp.full(n, 0.1)
    )

    def population(V):
        port = Port(jnp.zeros(n), jnp.full(n, 0.9), jnp.float32(1.0), False)
        state, drive = kernel.State(V), jnp.full(n, 1.2)
        return Population(kernel, n, state, params, drive, False, (port,), (poisson,))

    def run(V, probes):
        return network_run([population(V)] * 2, wiring, 6, probes=probes, backend="native")[0]

    probe = Probe(0, "V", np.array([1, 5], np.int32), 2)
    jax.jit(lambda V: run(V, [probe]))(jnp.linspace(0, 1, n))
    jax.jit(lambda V: run(V, []))(jnp.linspace(0, 1, n))  # a GPU takes no probes
