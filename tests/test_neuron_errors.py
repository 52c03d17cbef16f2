"""What a user reads when a neuron op is given what it cannot take; and the SIMD levels."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from spikexla.ops import neuron_scan, neuron_step
from spikexla.ops.library import native

CASE = CASES[0]


def operands(lanes=5, steps=6):
    return CASE.draw(lanes, steps, dtype=np.float32)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_pointed_to_the_reference(dtype):
    state, params, inputs = jax.tree.map(lambda x: x.astype(dtype), operands())
    with pytest.raises(TypeError, match=r"float32 and float64.*backend='xla'"):
        neuron_scan(CASE.kernel, state, params, inputs, backend="native")
    last, spikes = neuron_scan(CASE.kernel, state, params, inputs, backend="xla")
    assert last.V.dtype == spikes.dtype == dtype


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_whole_numbers_cannot_be_a_potential(backend):
    state, params, inputs = operands()
    state = jax.tree.map(lambda x: x.astype(jnp.int32), state)
    with pytest.raises(TypeError, match=r"state V has dtype int32.*float32"):
        neuron_scan(CASE.kernel, state, params, inputs, backend=backend)


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_shapes_that_do_not_fit_are_listed(backend):
    state, params, inputs = operands()
    with pytest.raises(ValueError, match=r"V \(4,\).*I \(5,\)"):
        neuron_scan(CASE.kernel, CASE.kernel.State(state.V[:4]), params, inputs, backend=backend)
    with pytest.raises(ValueError, match="no input has a time axis"):
        neuron_scan(CASE.kernel, state, params, CASE.kernel.Inputs(1.0, 0.0), backend=backend)
    bad = inputs._replace(jump=inputs.jump[:3])
    with pytest.raises(ValueError, match="disagree on the number of steps"):
        neuron_scan(CASE.kernel, state, params, bad, backend=backend)


def test_names_out_of_range_list_the_choices():
    with pytest.raises(ValueError, match=r"'middling'.*'soft'.*'hard'"):
        neuron_scan(CASE.kernel, *operands(), reset="middling")
    with pytest.raises(ValueError, match=r"checkpoint_every=0"):
        neuron_scan(CASE.kernel, *operands(), checkpoint_every=0)
    with pytest.raises(ValueError, match=r"'cuda'.*xla.*native"):
        neuron_scan(CASE.kernel, *operands(), backend="cuda")


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_complex_operands_lose_no_part(backend):
    state, params, inputs = operands()
    inputs = inputs._replace(I=inputs.I + 1j)
    with pytest.raises(TypeError, match="I is complex"):
        neuron_scan(CASE.kernel, state, params, inputs, backend=backend)


@pytest.mark.parametrize("op", [neuron_scan, neuron_step])
def test_a_spike_function_of_ones_own_needs_the_reference(op):
    state, params, inputs = operands()
    with pytest.raises(TypeError, match="backend='xla'"):
        op(CASE.kernel, state, params, inputs, surrogate=lambda x: x >= 0, backend="native")
    with pytest.raises(TypeError, match=r"'sigmoid' is not one of spikexla\.surrogate"):
        op(CASE.kernel, state, params, inputs, surrogate="sigmoid", backend="xla")


@pytest.mark.parametrize(("axes", "fits"), [(16, True), (17, False)])
def test_lanes_may_have_as_many_axes_as_the_kernels(axes, fits):
    state, params, inputs = operands(lanes=(1,) * axes, steps=3)
    want = neuron_scan(CASE.kernel, state, params, inputs, backend="xla")
    if fits:
        found = neuron_scan(CASE.kernel, state, params, inputs, backend="native")
        assert found[1].shape == want[1].shape
    else:
        with pytest.raises(ValueError, match=r"17 axes.*16.*backend='xla'"):
            neuron_scan(CASE.kernel, state, params, inputs, backend="native")


def test_arrays_on_explicit_axes_are_sent_to_shard_map():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    state, params, _ = operands(lanes=(2, 3))
    spec = jax.sharding.PartitionSpec("d")

    def last(V):
        x = CASE.kernel.Inputs(1.0, 0.0)
        p = CASE.kernel.Params(*(0.5 for _ in params))
        return neuron_step(CASE.kernel, (V,), p, x, backend="native")[0].V

    with jax.set_mesh(mesh):
        V = jax.device_put(state.V, jax.NamedSharding(mesh, spec))
        with pytest.raises(TypeError, match=r"jax\.shard_map.*backend='xla'"):
            jax.jit(last)(V)
        inside = jax.jit(jax.shard_map(last, in_specs=spec, out_specs=spec))(V)
    np.testing.assert_array_equal(inside, last(state.V))


@pytest.mark.parametrize("op", [neuron_scan, neuron_step])
def test_forward_mode_and_second_derivatives_name_the_other_backend(op):
    state, params, inputs = operands()
    if op is neuron_step:
        inputs = jax.tree.map(lambda x: x[0], inputs)

    def last(V, backend):
        out, _ = op(CASE.kernel, CASE.kernel.State(V), params, inputs, backend=backend)
        return jnp.sum(out.V**2)

    with pytest.raises(TypeError, match="backend='xla'"):
        jax.jvp(lambda V: last(V, "native"), (state.V,), (state.V,))
    with pytest.raises(TypeError, match="backend='xla'"):
        jax.hessian(lambda V: last(V, "native"))(state.V)
    with pytest.raises(TypeError, match="backend='xla'"):
        jax.grad(lambda V: jax.grad(lambda V: last(V, "native"))(V).sum())(state.V)
    jax.jvp(lambda V: last(V, "xla"), (state.V,), (state.V,))
    assert jax.hessian(lambda V: last(V, "xla"))(state.V).shape == (5, 5)


DIGEST = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import jax, numpy as np
from cases import CASES
from spikexla.ops import neuron_scan
from spikexla.ops.library import native
digest = hashlib.sha256()
for case in CASES:
    for spread in (0.0, 0.02):
        operands = case.draw(257, 20, dtype=np.float32, spread=spread)
        out, pull = jax.vjp(lambda *o: neuron_scan(case.kernel, *o, backend="native"), *operands)
        for x in jax.tree.leaves((out, pull(jax.tree.map(jax.numpy.ones_like, out)))):
            digest.update(np.asarray(x).tobytes())
print(native().simd_level(), digest.hexdigest())
"""


def run_at(level):
    """The digest of all kernels' results at one SIMD level; None where the processor lacks it."""
    code = DIGEST.format(tests=os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "SPIKEXLA_SIMD": level}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if "lacks these instructions" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    ran, digest = done.stdout.split()
    assert ran == level
    return digest


def test_every_simd_level_gives_the_same_bits():
    digests = {level: run_at(level) for level in native().simd_levels()}
    found = {level: digest for level, digest in digests.items() if digest}
    assert "baseline" in found
    assert len(set(found.values())) == 1, found


def test_an_unknown_simd_level_lists_the_known_ones():
    code = "from spikexla.ops import kernels; kernels()"
    env = {**os.environ, "SPIKEXLA_SIMD": "sse9"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "sse9" in done.stderr
    assert "baseline" in done.stderr
