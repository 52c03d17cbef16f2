"""Compiles the neurons of other_models.py as docs/how-to/add-a-neuron-model.md says."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import jax
import pytest
from spikexla.ops import library
from spikexla.ops.network_run import NETWORK_RUN

ROOT = Path(__file__).parents[1]
NAMES = ("adaptive", "izhikevich", "mihalas_niebur")


def blocks_of_the_how_to(language: str) -> list[str]:
    """The blocks of code of the page on adding a neuron."""
    page = (ROOT / "docs/how-to/add-a-neuron-model.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def make_models(folder: Path) -> Path:
    """`csrc/models.h` with the three models named in it, and what it includes."""
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/adaptive.h").write_text(blocks_of_the_how_to("cpp")[0])
    text = (ROOT / "csrc/models.h").read_text()
    names = re.search(r"TypeList<(\w.*)>;", text)
    headers = '#include "adaptive.h"\n#include "izhikevich.h"\n#include "mihalas_niebur.h"\n'
    headers = headers.replace("adaptive.h", "models/adaptive.h")
    more = f"TypeList<{names[1]}, Adaptive, Izhikevich, MihalasNiebur>;"
    text = text.replace(names[0], more).replace("\nSPIKEXLA_BEGIN", f"{headers}\nSPIKEXLA_BEGIN")
    (folder / "models.h").write_text(text)
    return folder


def compiled(name: str, command: list[str], tmp_path_factory) -> Path:
    """What `g++ command -o name` makes with these models, once for all workers of a run."""
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++ on PATH: the models of the tests were not compiled")
    if not (ROOT / "csrc").exists():
        pytest.skip("no csrc/ beside the tests: this is not a checkout")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made, started = folder / name, folder / f"{name}.part"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            models = folder / f"{name}.models"
            models.mkdir(exist_ok=True)
            options = ["-std=c++17", "-ffp-contract=off", "-w", f"-I{make_models(models)}"]
            options += ["-Itests/models", *command, "-o", str(started)]
            built = subprocess.run([compiler, *options], cwd=ROOT, capture_output=True, text=True)
            assert built.returncode == 0, built.stderr
            started.rename(made)
    return made


@pytest.fixture(scope="session")
def other_kernels(tmp_path_factory):
    """Builds and registers the handlers of these models for the CPU; returns rows for `library`."""
    sources = ("ffi/neuron.cc", "ffi/network.cc", "cpu/kernels.cc", "cpu/dispatch.cc")
    sources += ("cpu/sparse.cc", "cpu/row_source.cc", "cpu/rows.cc")
    command = ["-O0", "-fPIC", "-shared", "-Icsrc", "-isystem", jax.ffi.include_dir()]
    command += ["tests/models/module.cc", *(f"csrc/{source}" for source in sources)]
    loaded = ctypes.CDLL(str(compiled("libother_models.so", command, tmp_path_factory)))
    loaded.kernel_text.restype = ctypes.c_char_p
    loaded.kernel_handler.restype = ctypes.c_void_p
    rows = {}
    while loaded.kernel_text(k := len(rows), 0) is not None:
        name, model, *fields = (loaded.kernel_text(k, c).decode() for c in range(5))
        handler = jax.ffi.pycapsule(ctypes.CFUNCTYPE(None)(loaded.kernel_handler(k)))
        ours = model in NAMES
        jax.ffi.register_ffi_target(name if ours else f"other.{name}", handler, platform="cpu")
        rows[name, "cpu"] = library.Kernel(name, "cpu", model, *(tuple(f.split()) for f in fields))
    return {key: row for key, row in rows.items() if row.model in NAMES}


@pytest.fixture
def other_models(other_kernels, monkeypatch):
    """The library has these models too, and `network_run` knows them."""
    call = jax.ffi.ffi_call

    def ffi_call(name, *args, **options):
        return call(f"other.{name}" if name == NETWORK_RUN else name, *args, **options)

    def forget():
        library.has.cache_clear()
        library.platforms.cache_clear()

    with monkeypatch.context() as patch:
        patch.setattr(jax.ffi, "ffi_call", ffi_call)
        for key, row in other_kernels.items():
            patch.setitem(library.kernels(), key, row)
        forget()
        yield
    forget()
