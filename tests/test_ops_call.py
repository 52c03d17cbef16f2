"""The seam between ops and kernels: a reference takes the kernel's place where there is none, and
costs nothing where there is one."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.ops import library
from spikexla.ops.call import native_call

TARGET = "spikexla.spike_matvec.forward.v1"
X = jnp.arange(6.0, dtype=jnp.float32).reshape(2, 3)
SPEC = jax.sharding.PartitionSpec


def op(traces=None):
    """An op whose reference is `2 x + 1` and whose kernel is of another op: it must not run."""

    def reference(x):
        if traces is not None:
            traces.append(x.shape)
        return (2 * x + jnp.ones(x.shape, x.dtype),)

    def call(x):
        (y,) = native_call(TARGET, (x,), [(x.shape, x.dtype)], reference=reference, attributes={})
        return y

    return call


def sharded(f):
    devices = min(2, jax.device_count())
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=SPEC("data"), out_specs=SPEC("data"))


WAYS = {
    "as it is": lambda f: f,
    "vmap": jax.vmap,
    "vmap of vmap": lambda f: jax.vmap(jax.vmap(f)),
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=1)[0],
    "cond": lambda f: lambda x: jax.lax.cond(x[0, 0] < 1, f, lambda x: x, x),
    "checkpoint": jax.checkpoint,
    "shard_map": sharded,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_platform_without_the_kernel_runs_the_reference(way, monkeypatch):
    monkeypatch.setattr(library, "platforms", lambda name: ())
    np.testing.assert_array_equal(jax.jit(WAYS[way](op()))(X), 2 * X + 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_reference_is_traced_only_for_the_platform_that_lowers_it(way):
    traces = []
    traced = jax.jit(WAYS[way](op(traces))).trace(X)
    assert TARGET in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert not traces
    assert TARGET not in traced.lower(lowering_platforms=("tpu",)).as_text()
    assert traces
    both = traced.lower(lowering_platforms=("cpu", "tpu")).as_text()
    assert TARGET in both
    assert "stablehlo.case" in both


def test_an_eager_call_runs_the_reference_too(monkeypatch):
    monkeypatch.setattr(library, "platforms", lambda name: ())
    np.testing.assert_array_equal(op()(X), 2 * X + 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_named_in_the_metadata_of_a_program(way):
    """Profiles show these names; the instruction itself is always called ffi_call."""
    lowered = jax.jit(WAYS[way](op())).lower(X).as_text(debug_info=True)
    paths = re.findall(r'loc\("([^"]*ffi_call)"', lowered)
    assert paths
    assert all(TARGET in path for path in paths)
