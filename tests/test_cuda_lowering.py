"""What a GPU program calls: the CUDA kernels where they are built, else the definition in JAX.

Lowering needs no GPU, and a GPU program can be lowered on any machine.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from network_cases import SIZES, populations, projections
from spikexla.ops import library, network_run, neuron_scan, neuron_step, reset, spike_matvec
from spikexla.ops.network_run import NETWORK_RUN
from spikexla.ops.wiring import pack

BUILT = library.native_cuda() is not None
REASON = (
    "_native_cuda is built: a GPU program must call its kernels"
    if BUILT
    else "_native_cuda is not built: a GPU program must be the definition in JAX"
)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def cuda_text(f, *operands):
    return jax.jit(f).trace(*operands).lower(lowering_platforms=("cuda",)).as_text()


def assert_calls(text, *targets):
    print(REASON)
    for target in targets:
        assert (f"@{target}" in text) == BUILT, f"{REASON}: {target}"
    if not BUILT:
        assert "@spikexla." not in text, REASON


@every_case
def test_a_scan_and_its_gradient(case):
    operands = case.draw(5, 4, dtype=np.float32)

    def loss(*o):
        return neuron_scan(case.kernel, *o, backend="native")[1].sum()

    assert_calls(cuda_text(loss, *operands), case.kernel.target("forward"))
    text = cuda_text(jax.grad(loss, argnums=(0, 1, 2)), *operands)
    assert_calls(text, case.kernel.target("forward"), case.kernel.target("backward"))


@every_case
def test_a_step_and_its_gradient(case):
    state, params, inputs = case.draw(5, 1, dtype=np.float32)
    inputs = jax.tree.map(lambda x: x[0], inputs)

    def loss(*o):
        return neuron_step(case.kernel, *o, backend="native")[0].V.sum()

    text = cuda_text(jax.grad(loss, argnums=(0, 1, 2)), state, params, inputs)
    assert_calls(text, case.kernel.target("forward"), case.kernel.target("backward"))


def test_the_other_kernels():
    from spikexla.connect import fixed_num_post

    conn = fixed_num_post(20, 10, 3, seed=0)
    weights = jnp.ones(conn.indices.shape)

    def loss(weights, spikes):
        return spike_matvec(conn, weights, spikes, backend="native").sum()

    parts = ("forward", "spikes_vjp", "weights_vjp")
    text = cuda_text(jax.value_and_grad(loss, argnums=(0, 1)), weights, jnp.ones(20))
    assert_calls(text, *(f"spikexla.spike_matvec.{part}.v1" for part in parts))
    text = cuda_text(lambda b: reset([b], [0.0], backend="native"), jnp.ones((2, 3)))
    assert_calls(text, "spikexla.reset.v1")


def test_a_network():
    packed = pack(SIZES, (2, 1, 1), projections("bundled"), np.float32)
    f = lambda packed: network_run(populations(), packed, 3, backend="native")  # noqa: E731
    assert_calls(cuda_text(f, packed), NETWORK_RUN)


def test_the_xla_backend_calls_no_kernel():
    operands = CASES[0].draw(5, 4, dtype=np.float32)
    text = cuda_text(lambda *o: neuron_scan(CASES[0].kernel, *o, backend="xla"), *operands)
    assert "@spikexla." not in text


def test_the_cuda_library_lists_twins_only():
    if not BUILT:
        pytest.skip(REASON)
    table = library.kernels()
    for name, platform in table:
        if platform == "CUDA":
            assert table[name, "cpu"]._replace(platform="CUDA") == table[name, "CUDA"]


def test_without_the_cuda_library_everything_else_works(monkeypatch):
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    assert library.native_cuda.__wrapped__() is None


def test_a_broken_cuda_library_says_so(monkeypatch):
    def broken(name):
        raise ImportError("libfoo.so.1: cannot open shared object file")

    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(library.importlib, "import_module", broken)
    with pytest.raises(library.LibraryError, match=r"libfoo.so.1.*sx.backend\('xla'\)"):
        library.native_cuda.__wrapped__()
