"""The CUDA kernels give the CPU's results: their source, compiled for the host, thread by thread.

cuda/host/cuda_runtime.h says how. What only a GPU can show, scripts/gpu_smoke.py checks there.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from cuda_on_host import same_bits
from other_models import OTHERS
from spike_matvec_cases import CONNS, RTOL, problem
from spikexla import surrogate as surrogates
from spikexla.ops import kernels, neuron_scan, reset, spike_matvec

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def pulled(f):
    """f's results, and their vjp for fixed random cotangents."""

    def value(*operands):
        out, pull = jax.vjp(f, *operands)
        rng = np.random.default_rng(1)
        return out, pull(
            jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), out)
        )

    return value


def scan(case, **options):
    return pulled(lambda *o: neuron_scan(case.kernel, *o, backend="native", **options))


def test_each_kernel_is_one_of_the_cpu(host_kernels):
    cpu = {name for name, platform in kernels() if platform == "cpu"}
    cpu |= {kernel.target(d) for kernel in OTHERS for d in ("forward", "backward")}
    assert len(set(host_kernels)) == len(host_kernels)
    assert set(host_kernels) <= cpu
    assert {case.kernel.target(d) for case in CASES for d in ("forward", "backward")} <= set(
        host_kernels
    )


@pytest.mark.sampled(12)
@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("way", ["soft", "hard"])
@pytest.mark.parametrize("spread", [0.0, 0.05], ids=["shared", "own"])
def test_values_and_gradients_have_the_same_bits(case, dtype, way, spread, on_host):
    operands = case.draw((3, 50), 21, dtype=dtype, reset=way, spread=spread)
    same_bits(*on_host(scan(case, reset=way), *operands))


@pytest.mark.parametrize("name", surrogates.NAMES)
def test_every_surrogate_has_the_same_bits(name, on_host):
    case = CASES[0]
    operands = case.draw(33, 17, dtype=np.float32, spread=0.05)
    same_bits(*on_host(scan(case, surrogate=surrogates.make(name, 0.7, 1.3)), *operands))


@pytest.mark.sampled(12)
@every_case
@pytest.mark.parametrize("every", [1, 7, 16, 1000])
@pytest.mark.parametrize("steps", [0, 1, 33])
def test_any_checkpoint_interval(case, every, steps, on_host):
    operands = case.draw(35, steps, dtype=np.float32, spread=0.05)
    same_bits(*on_host(scan(case, checkpoint_every=every), *operands))


def test_a_segment_longer_than_shared_memory_is_served_in_parts(on_host):
    operands = CASES[1].draw(3, 400, dtype=np.float64)
    same_bits(*on_host(scan(CASES[1], checkpoint_every=390), *operands))


@pytest.mark.parametrize("lanes", [(), (0,), (31,), (17_000,), (66_000,)], ids=str)
def test_every_size_of_block(lanes, on_host):
    operands = CASES[0].draw(lanes, 5, dtype=np.float32)
    same_bits(*on_host(scan(CASES[0]), *operands))


@pytest.mark.sampled(1)
@every_case
def test_axes_that_repeat(case, on_host):
    """Nested vmap: trials of a batch, shared parameters, inputs that only some axes have."""
    state, params, inputs = case.draw((2, 3, 20), 9, dtype=np.float32)
    first = case.kernel.Inputs._fields[0]
    narrow = inputs._replace(**{first: getattr(inputs, first)[:, :, :1, :1]})

    def one(state, params, inputs):
        return neuron_scan(case.kernel, state, params, inputs, backend="native")

    axes = case.kernel.Inputs(*(2 if f != first else None for f in case.kernel.Inputs._fields))
    narrow = narrow._replace(**{first: getattr(narrow, first)[:, :, 0]})
    inner = jax.vmap(one, in_axes=(1, None, axes))
    same_bits(*on_host(pulled(inner), state, params, narrow))
    outer = jax.vmap(jax.vmap(one, in_axes=(0, None, 1)), in_axes=(0, None, 1))
    same_bits(*on_host(pulled(outer), state, params, inputs))


def test_the_surrogate_may_differ_between_items(on_host):
    """One slope per item of a vmap: the operands of a surrogate are arrays like all others."""
    case = CASES[0]
    state, params, inputs = case.draw((4, 30), 12, dtype=np.float32)
    alphas = jnp.asarray([0.3, 0.5, 0.9, 1.4], jnp.float32)

    def slope(alpha, state, inputs):
        spike = surrogates.Surrogate("sigmoid", (alpha, jnp.float32(1)))
        out, pull = jax.vjp(
            lambda x: neuron_scan(case.kernel, state, params, x, surrogate=spike, backend="native"),
            inputs,
        )
        return pull(jax.tree.map(jnp.ones_like, out))

    def item(k):
        own = jax.tree.map(lambda x: x[k], state), jax.tree.map(lambda x: x[:, k], inputs)
        return jax.tree.leaves(slope(alphas[k], *own))

    want = [np.stack(leaf) for leaf in zip(*(item(k) for k in range(4)), strict=True)]
    _, got = on_host(jax.vmap(slope, in_axes=(0, 0, 1)), alphas, state, inputs)
    same_bits(want, got)


@pytest.mark.sampled(18)
@pytest.mark.parametrize("name", CONNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["weights", "shared"])
def test_the_event_driven_product(name, dtype, batch, shared, on_host):
    conn, *operands = problem(name, dtype, batch, scalar=shared)

    def product(w, s, i):
        return spike_matvec(conn, w, s, init=i, backend="native")

    want, got = on_host(pulled(product), *operands)
    for w, g in zip(want, got, strict=True):  # y and a shared weight: any order of additions
        size = np.abs(w).max() if w.size else 0.0
        np.testing.assert_allclose(g, w, rtol=0, atol=10 * RTOL[dtype] * size)
    same_bits(want[2:], got[2:])  # d_spikes, d_init
    if not shared:
        same_bits(want[1:2], got[1:2])


@pytest.mark.parametrize("shared", [False, True], ids=["weights", "shared"])
def test_events_count_one_without_init(shared, on_host):
    conn, weights, spikes, _ = problem("csr", "float32", (3,), scalar=shared)

    def product(w, s):
        return spike_matvec(conn, w, s != 0, backend="native")

    want, got = on_host(product, weights, spikes)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_reset_fills_any_number_of_buffers_of_any_type(masked, on_host):
    rng = np.random.default_rng(0)
    shapes = [(6,), (6, 1), (6, 33), (6, 5, 7), (6, 0), (6, 1024)] * 10
    dtypes = [np.float32, np.float64, np.int8, np.bool_, np.float16] * 12
    buffers = [jnp.asarray(rng.integers(1, 9, s), d) for s, d in zip(shapes, dtypes, strict=True)]
    values = [b[0] if k % 3 else jnp.zeros((), b.dtype) for k, b in enumerate(buffers)]
    mask = jnp.asarray(rng.random(6) < 0.5) if masked else None
    same_bits(*on_host(lambda b, v: reset(b, v, mask=mask, backend="native"), buffers, values))


def test_more_axes_than_a_kernel_takes_is_an_error(on_host):
    case = CASES[0]
    state, params, inputs = case.draw((2, 2, 2, 2, 2, 2, 2, 2), 2, dtype=np.float32)
    rate = jnp.full((2, 1, 2, 1, 2, 1, 2, 1), params.rate)  # repeats along every other axis
    run = functools.partial(neuron_scan, case.kernel, backend="native")
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"axes.*Broadcast the parameters"):
        on_host(run, state, params._replace(rate=rate), inputs)
