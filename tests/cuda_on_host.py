"""Fixtures that run the CUDA kernels on the host, in place of the CPU's."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import jax
import numpy as np
import pytest
from compiled_models import compiled

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory):
    """Builds and registers the handlers under "host.<target>"; returns the targets.

    Beside the models of the package, those of other_models.py.
    """
    if not (ROOT / "cuda/host/module.cc").exists():
        pytest.skip("no cuda/ beside the tests: this is not a checkout")
    command = [
        "-O1", "-fPIC", "-shared", "-DSPIKEXLA_ISA=host_gpu", "-Icuda/host", "-Icuda", "-Icsrc",
        "-isystem", jax.ffi.include_dir(), "-include", "cuda/host/ffi/stream.h",
        "cuda/host/module.cc", "-x", "c++", *map(str, sorted(ROOT.glob("cuda/ffi/*.cu"))),
    ]  # fmt: skip
    loaded = ctypes.CDLL(str(compiled("libcuda_on_host.so", command, tmp_path_factory)))
    loaded.host_kernel_name.restype = ctypes.c_char_p
    loaded.host_kernel_handler.restype = ctypes.c_void_p
    names = []
    while (name := loaded.host_kernel_name(len(names))) is not None:
        handler = ctypes.CFUNCTYPE(None)(loaded.host_kernel_handler(len(names)))
        jax.ffi.register_ffi_target(f"host.{name.decode()}", jax.ffi.pycapsule(handler))
        names.append(name.decode())
    return names


@pytest.fixture
def instead(host_kernels, monkeypatch):
    """A context in which the CUDA kernels run in place of the CPU's; it yields their calls."""

    @contextlib.contextmanager
    def kernels():
        call, calls = jax.ffi.ffi_call, []

        def ffi_call(name, *args, **options):
            calls.append(name)
            return call(f"host.{name}", *args, **options)

        jax.clear_caches()  # of traced programs, which name the CPU's kernels
        with monkeypatch.context() as patch:
            patch.setattr(jax.ffi, "ffi_call", ffi_call)
            yield calls
        jax.clear_caches()

    return kernels


@pytest.fixture
def on_host(instead):
    """run(f, *operands): the leaves of jit(f) by the CPU's kernels, and by the CUDA kernels."""
    jax.config.update("jax_enable_x64", True)

    def run(f, *operands):
        want = jax.jit(lambda *o: f(*o))(*operands)
        with instead():
            lowered = jax.jit(lambda *o: f(*o)).lower(*operands)
            assert "@host.spikexla." in lowered.as_text()
            assert "@spikexla." not in lowered.as_text()
            got = lowered.compile()(*operands)
        leaves = jax.tree.leaves
        return [np.asarray(x) for x in leaves(want)], [np.asarray(x) for x in leaves(got)]

    return run


def same_bits(want, got):
    for w, g in zip(want, got, strict=True):
        assert (w.shape, w.dtype) == (g.shape, g.dtype)
        np.testing.assert_array_equal(w, g)
