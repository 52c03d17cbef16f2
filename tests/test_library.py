"""The compiled library's own list, and what a user reads when the library cannot be used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES
from spikexla.ops import library, neuron_scan


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_field_names_of_both_languages_agree(case, direction):
    row = library.kernels()[case.kernel.target(direction), "cpu"]
    assert row.model == case.kernel.name
    assert row.state == case.kernel.State._fields
    assert row.params == case.kernel.Params._fields
    assert row.inputs == case.kernel.Inputs._fields


def test_every_target_carries_its_version():
    for name, _ in library.kernels():
        assert name.startswith("spikexla.")
        assert name.endswith(".v1")


def test_a_kernel_of_another_platform_has_a_cpu_twin():
    cpu = {name for name, platform in library.kernels() if platform == "cpu"}
    assert {name for name, _ in library.kernels()} == cpu


def test_a_model_without_a_kernel_runs_its_definition():
    case = CASES[0]
    unknown = replace(case.kernel, name="nowhere")
    operands = case.draw(3, 4, dtype=np.float32)
    _, spikes = neuron_scan(unknown, *operands)
    _, want = neuron_scan(case.kernel, *operands, backend="xla")
    assert (spikes == want).all()
    with pytest.raises(library.LibraryError, match=r"nowhere.*backend"):
        neuron_scan(unknown, *operands, backend="native")


def test_the_library_fits_the_installed_jaxlib():
    built, runtime = tuple(library.native().ffi_version), library.runtime_ffi_version()
    assert built[0] == runtime[0]
    assert built <= runtime


@pytest.mark.parametrize(("built", "runtime"), [((0, 3), (0, 3)), ((0, 1), (0, 9))])
def test_a_runtime_as_new_as_the_library_is_taken(built, runtime):
    library.check_ffi_version(built, runtime)


@pytest.mark.parametrize(
    ("built", "runtime"), [((0, 4), (0, 3)), ((1, 0), (0, 9)), ((0, 3), (1, 0))]
)
def test_another_runtime_is_refused_with_both_ways_out(built, runtime):
    with pytest.raises(library.LibraryError, match=r"pip install -U jax.*rebuild") as error:
        library.check_ffi_version(built, runtime)
    for version in (built, runtime):
        assert f"{version[0]}.{version[1]}" in str(error.value)


HIDDEN = """
import sys
sys.modules["spikexla._native"] = None  # as if the file were not there
import jax, spikexla as sx
from spikexla.ops import library
try:
    library.native()
except library.LibraryError as error:
    print(error)
sx.backend("xla")
sx.environ.set(dt=0.1)
print("xla:", sx.LIF(2)(30.0).tolist())
"""


def test_a_missing_library_says_what_to_do_and_leaves_the_reference():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install --force-reinstall" in done.stdout
    assert "SPIKEXLA_BACKEND=xla" in done.stdout
    assert "xla: [" in done.stdout
