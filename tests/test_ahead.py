"""Programs made ahead of time: `lower`, `jax.export` read by another process, and their kernels."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from cases import CASES
from jax import export
from spikexla.ops import neuron_scan
from spikexla.transform import jit

CONN = sx.connect.fixed_num_post(300, 200, 5, seed=3)

LOAD = """
import sys, jax.numpy as jnp, spikexla
from jax import export
called = export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call(jnp.ones(300))
print(float(called.sum()))
"""


def received(spikes):
    return sx.ops.spike_matvec(CONN, 0.5, spikes)


def test_an_exported_program_finds_its_kernels_after_the_import_alone(tmp_path):
    pytest.importorskip("flatbuffers", reason="jax.export writes bytes with flatbuffers")
    trusted = [export.DisabledSafetyCheck.custom_call(name) for name, _ in sx.ops.kernels()]
    exported = export.export(jax.jit(received), disabled_checks=trusted)(jnp.ones(300))
    assert "spikexla.spike_matvec" in exported.mlir_module()
    (tmp_path / "program").write_bytes(exported.serialize())
    command = [sys.executable, "-c", LOAD, str(tmp_path / "program")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == float(received(jnp.ones(300)).sum())


def test_jax_keeps_a_program_for_each_backend():
    f, spikes = jax.jit(received), jnp.ones(300)

    def native():
        traced = str(jax.make_jaxpr(f)(spikes))
        called = "spikexla.spike_matvec" in f.lower(spikes).as_text()
        assert ("custom_vjp" in traced) == called
        f(spikes)
        return called

    assert native()
    for _ in range(2):
        with sx.backend("xla"):
            assert not native()
            jax.jvp(f, (spikes,), (spikes,))
            with sx.backend("native"):
                assert native()
            assert not native()
        assert native()
    sx.backend("xla")
    assert not native()
    sx.backend("native")
    assert native()


OPS = {
    "spike_matvec": lambda x: sx.ops.spike_matvec(CONN, 0.5, jnp.full(300, x)).sum(),
    "reset": lambda x: sx.ops.reset([jnp.ones(3)], [x])[0].sum(),
    "neuron_scan": lambda x: scanned(x),
}
STATE, PARAMS, INPUTS = CASES[0].draw(3, 4, dtype=np.float32)


def scanned(x):
    state = [x * jnp.asarray(s) for s in STATE]
    return neuron_scan(CASES[0].kernel, state, PARAMS, INPUTS)[0][0].sum()


WRAPS = {"as it is": lambda f: f, "jit": jax.jit, "vmap": jax.vmap, "checkpoint": jax.checkpoint}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_forward_mode_names_the_other_backend_whatever_is_around_the_op(name, wrap):
    x = jnp.ones(2) if wrap == "vmap" else jnp.float32(1.0)
    wrapped = WRAPS[wrap](OPS[name])
    with pytest.raises(TypeError, match=rf"{name}.*with sx.backend\('xla'\)"):
        jax.jvp(wrapped, (x,), (x,))


def test_a_lowered_function_reads_and_writes_the_states():
    count = sx.ShortTermState(jnp.zeros(3))

    def f(x, scale="big"):
        count.value = count.value + x
        return {"sum": count.value.sum() * (10 if scale == "big" else 1), "scale": scale}

    lowered = jit(f).lower(jax.ShapeDtypeStruct((3,), jnp.float32))
    assert "stablehlo.add" in lowered.as_text()
    step = lowered.compile()
    np.testing.assert_array_equal(count.value, np.zeros(3))
    for k in (1, 2, 3):
        assert step(np.ones(3, np.float32)) == {"sum": 30.0 * k, "scale": "big"}
        np.testing.assert_array_equal(count.value, np.full(3, k))
    with pytest.raises(TypeError, match="Lower it again"):
        step(jnp.ones(3), scale="small")
    with pytest.raises(TypeError):
        step(jnp.ones(4))
    np.testing.assert_array_equal(count.value, np.full(3, 3))
    count.value = jnp.zeros(3)
    assert float(step(jnp.ones(3))["sum"]) == 30.0
    with pytest.raises(sx.TraceError, match="compiled ahead of time"):
        jit(lambda: sx.ShortTermState(jnp.ones(2)) and None).lower()
