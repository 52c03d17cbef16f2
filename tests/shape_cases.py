"""Cases of the law that an op is right for every shape, under any nest of `vmap`.

A case draws an op, sizes of {0, 1, 2, 17}, steps of {0, 1, 2, 33}, up to three levels of `vmap`,
which operands each level maps and along which axis, and compares the native kernels' values and
gradients with pure JAX. Run with SPIKEXLA_POISON=1: an element that a kernel leaves out is NaN.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import spikexla as sx
from spikexla.connect import CSR, FixedFanOut
from spikexla.neuron import lif_step
from spikexla.ops import network_run, neuron_scan, neuron_step, reset, spike_matvec
from spikexla.ops.network_run import Poisson, Population, Port
from spikexla.ops.poisson import generators, poisson_thresholds
from spikexla.ops.wiring import Projection, pack

SIZES, STEPS, DEPTHS = (0, 1, 2, 17), (0, 1, 2, 33), (0, 1, 2, 3)
MOST = 40_000  # elements of a time series: larger shapes say nothing new
MODELS = (lif_step.LIF, lif_step.LIF_COBA, lif_step.LIF_REF, lif_step.LIF_REF_COBA)
SURROGATES = (sx.surrogate.ReluGrad(), sx.surrogate.Sigmoid(), sx.surrogate.SlayerGrad())


class Case(NamedTuple):
    """One call: `op(backend)` takes the operands that are arrays and returns arrays."""

    what: str
    op: Any
    operands: list[np.ndarray]
    differentiable: list[bool]
    maps: list[tuple]  # in_axes of each level, innermost first
    out_axes: list[int]

    def run(self, backend):
        """(operands, cotangents) -> (values, gradients), to be compiled once."""

        def nested(*operands):
            f = self.op(backend)
            for axes, out in zip(self.maps, self.out_axes, strict=True):
                f = jax.vmap(f, in_axes=axes, out_axes=out)
            return f(*operands)

        where = [k for k, d in enumerate(self.differentiable) if d]

        def loss(chosen, operands, cotangents):
            full = [chosen[where.index(k)] if k in where else x for k, x in enumerate(operands)]
            out = nested(*full)
            terms = zip(jax.tree.leaves(out), cotangents, strict=True)
            return sum(((x * c).sum() for x, c in terms if c is not None), jnp.zeros(())), out

        def both(operands, cotangents):
            if not where:
                return nested(*operands), ()
            grad = jax.value_and_grad(loss, has_aux=True)
            (_, out), d = grad([operands[k] for k in where], operands, cotangents)
            return out, d

        return both, nested


def draw(rng: np.random.Generator, op: str | None = None, **fixed) -> Case:
    """A case; `fixed` sets what a reader wants to choose: depth, lanes, steps."""
    op = op or str(rng.choice(list(OPS)))
    depth = int(fixed.get("depth", rng.choice(DEPTHS)))
    steps = int(fixed.get("steps", rng.choice(STEPS)))
    lanes = fixed.get("lanes", tuple(map(int, rng.choice(SIZES, rng.integers(0, 3)))))
    levels = [int(n) for n in rng.choice(SIZES, depth)]
    while np.prod([max(1, n) for n in (*lanes, *levels, steps)]) > MOST:
        levels[levels.index(max(levels))] = 2
    what, call, operands, differentiable = OPS[op](rng, lanes, steps)
    maps, operands = [], [np.asarray(x) for x in operands]
    for size in levels:
        mapped = rng.random(len(operands)) < 0.6
        mapped[rng.integers(len(operands))] = True
        axes = [
            int(rng.integers(x.ndim + 1)) if m else None
            for m, x in zip(mapped, operands, strict=True)
        ]
        operands = [_stack(rng, x, size, axis) for x, axis in zip(operands, axes, strict=True)]
        maps.append(tuple(axes))
    outs = [int(rng.choice((0, -1))) for _ in levels]
    shapes = [x.shape for x in operands]
    what = f"{what}; vmap over {levels} along {maps}, out {outs}; operands {shapes}"
    return Case(what, call, operands, differentiable, maps, outs)


def check(case: Case, rng: np.random.Generator) -> None:
    """The native result is that of pure JAX; neither has a NaN."""
    (native, nested), (xla, _) = case.run("native"), case.run("xla")
    shapes = jax.tree.leaves(jax.eval_shape(nested, *case.operands))
    cotangents = [_cotangent(rng, s) for s in shapes]
    both = jax.jit(lambda *args: (native(*args), xla(*args)))
    operands = list(map(jnp.asarray, case.operands))
    try:
        have, want = both(operands, cotangents)
    except TypeError as error:  # JAX cannot transpose its own products of some empty shapes
        if "broadcast_dimensions" not in str(error) or all(x.size for x in operands):
            raise
        have = want = jax.jit(native)(operands, cotangents)
    for part, a, b in zip(("values", "gradients"), have, want, strict=True):
        for k, (x, y) in enumerate(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)):
            x, y = np.asarray(x), np.asarray(y)
            assert x.shape == y.shape, f"{part} {k}: {x.shape}, right {y.shape}: {case.what}"
            assert not np.isnan(x).any(), f"{part} {k} have a NaN: {case.what}"
            scale = np.abs(y).max(initial=1e-3)
            np.testing.assert_allclose(x, y, 1e-3, 1e-4 * scale, err_msg=f"{part} {k}: {case.what}")


def _stack(rng, x, size, axis):
    """Another axis of `size`, along which floats differ."""
    if axis is None:
        return x
    wide = np.repeat(np.expand_dims(x, axis), size, axis)
    if x.dtype != np.float32:
        return wide
    return (wide * rng.uniform(0.98, 1.0, wide.shape)).astype(np.float32)


def _cotangent(rng, like):
    """A cotangent, or None where nobody asks for the gradient of a result."""
    if not jnp.issubdtype(like.dtype, jnp.floating) or rng.random() < 0.2:
        return None
    return jnp.asarray(rng.normal(size=like.shape), jnp.float32)


def _some(rng, lanes):
    """A shape that broadcasts to `lanes`."""
    kept = lanes[rng.integers(len(lanes) + 1) :]
    return tuple(1 if rng.random() < 0.3 else n for n in kept)


def _neuron(scan, rng, lanes, steps):
    kernel = MODELS[rng.integers(len(MODELS))]
    surrogate, every = SURROGATES[rng.integers(len(SURROGATES))], int(rng.choice([1, 2, 16]))
    hard = str(rng.choice(["soft", "hard"]))
    values = {"V": 0.9, "refractory": 0, "rate": 0.3, "R": 1, "V_rest": 0, "V_th": 1}
    values |= {"V_reset": 0.1, "scale": 1.1, "hold": 2, "I": 2, "G": 0.3, "jump": 0.2}
    names = [*kernel.State._fields, *kernel.Params._fields, *kernel.Inputs._fields]
    ends = np.cumsum([len(kernel.State._fields), len(kernel.Params._fields)])

    def shape(k, name):
        if k < ends[0]:
            return lanes
        if k < ends[1] or not scan:
            return _some(rng, lanes)
        if name == "I":
            return (steps, *lanes)
        axes = _some(rng, lanes)
        time = steps if rng.random() < 0.5 else 1
        return (time, *(1,) * (len(lanes) - len(axes)), *axes)

    shapes = [shape(k, name) for k, name in enumerate(names)]
    operands = [
        np.asarray(values[n] * rng.uniform(0.5 if n in "VI" else 0.9, 1.0, s), np.float32)
        for n, s in zip(names, shapes, strict=True)
    ]

    def op(backend):
        def call(*x):
            run = functools.partial(neuron_scan, checkpoint_every=every) if scan else neuron_step
            state, params, inputs = x[: ends[0]], x[ends[0] : ends[1]], x[ends[1] :]
            return run(
                kernel, kernel.State(*state), kernel.Params(*params), kernel.Inputs(*inputs),
                reset=hard, surrogate=surrogate, backend=backend,
            )  # fmt: skip

        return call

    what = f"{kernel.name} {'scan' if scan else 'step'} of lanes {lanes}, {steps} steps, {hard}"
    return what, op, operands, [n not in ("refractory", "hold") for n in names]


def _reset(rng, lanes, steps):
    trials = int(rng.choice(SIZES))
    buffers = [rng.normal(size=(trials, *lanes)), rng.normal(size=(trials,)), np.zeros((trials, 2))]
    values = [rng.normal(size=_tail(rng, b.shape)) for b in buffers]
    mask = [rng.random(trials) < 0.5] if rng.random() < 0.7 else []
    operands = [np.asarray(x, np.float32) for x in (*buffers, *values)] + mask

    def op(backend):
        def call(*x):
            return reset(x[:3], x[3:6], mask=x[6] if mask else None, backend=backend)

        return call

    return f"reset of {trials} trials", op, operands, [True] * 6 + [False] * len(mask)


def _matvec(rng, lanes, steps):
    n_pre, n_post, fan = (int(n) for n in rng.choice(SIZES, 3))
    fan = fan if n_post else 0
    draw = functools.partial(rng.integers, 0, max(1, n_post))
    if rng.random() < 0.5:
        conn = FixedFanOut(np.sort(draw((n_pre, fan)), -1).astype(np.int32), n_post)
    else:
        ends = np.cumsum([0, *rng.integers(0, fan + 1, n_pre)]).astype(np.int32)
        rows = [np.sort(draw(b - a)) for a, b in itertools.pairwise(ends)]
        conn = CSR(ends, np.concatenate([np.zeros(0, int), *rows]).astype(np.int32), n_post)
    weights = rng.normal(size=conn.indices.shape if rng.random() < 0.5 else ())
    fired = rng.random((*lanes, n_pre)) < 0.5
    events = rng.random() < 0.3
    operands = [weights, fired if events else fired * rng.normal(1, 0.3, fired.shape)]
    if rng.random() < 0.5:
        operands.append(rng.normal(size=(*lanes, n_post)))
    operands = [
        x if x.dtype == bool else np.asarray(x, np.float32) for x in map(np.asarray, operands)
    ]

    def op(backend):
        def call(weights, spikes, init=None):
            return spike_matvec(conn, weights, spikes, init=init, backend=backend)

        return call

    what = f"spike_matvec of {type(conn).__name__} {n_pre} x {n_post}, {conn.indices.shape}"
    return what, op, operands, [x.dtype != bool for x in operands]


def _poisson(rng, lanes, steps):
    """A population under Poisson input, which feeds itself; sizes of 1 and more."""
    n = int(rng.choice(SIZES[1:]))
    kernel, f32 = lif_step.LIF, functools.partial(jnp.asarray, dtype=jnp.float32)
    params = kernel.Params(*map(f32, (0.1, 1.0, 0.0, 1.0, 0.0, 1.0)))
    ring = FixedFanOut(np.arange(n, dtype=np.int32)[:, None], n)
    wiring = pack([n], [1], [Projection(0, 0, n, 0, 0, ring, np.float32(0.2), 1)], np.float32)
    thresholds = poisson_thresholds(float(rng.choice([0.0, 0.3, 3.0])))
    operands = [
        np.asarray(rng.uniform(0, 0.9, n), np.float32), generators(3, n),
        np.asarray(0.3 * rng.uniform(0.9, 1, () if rng.random() < 0.5 else n), np.float32),
    ]  # fmt: skip

    def op(backend):
        def call(V, words, weight):
            port = Port(jnp.zeros(n), f32(0.9), f32(1.0), False)
            poisson = Poisson(0, words, jnp.asarray(thresholds), weight)
            one = Population(
                kernel, n, kernel.State(V), params, f32(0.5), False, (port,), (poisson,)
            )
            out = network_run([one], wiring, steps, backend=backend)
            return out.states, out.gs, out.generators, out.rasters, out.histories

        return call

    return f"poisson input of {n} neurons, {steps} steps", op, operands, [False] * 3


def _tail(rng, shape):
    return shape[rng.integers(1, len(shape) + 1) :]


OPS = {
    "neuron_step": functools.partial(_neuron, False),
    "neuron_scan": functools.partial(_neuron, True),
    "reset": _reset,
    "spike_matvec": _matvec,
    "poisson": _poisson,
}
