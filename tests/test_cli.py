"""The command line: durations, training, what is installed, help."""

from __future__ import annotations

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from cli_cases import BACKENDS, REPORT, SMALL, has_native
from spikexla.cli import options
from spikexla.cli.main import main
from spikexla.ops import library

pytestmark = pytest.mark.usefixtures("threads_as_they_were")


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1s", 1e3),
        ("500ms", 500),
        ("0.5 s", 500),
        (" 1.5S ", 1500),
        ("100us", 0.1),
        ("2 min", 120e3),
        ("1e3ms", 1e3),
        ("7", 7),
    ],
)
def test_durations(text, ms):
    assert options.duration(text) == pytest.approx(ms)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("backend", BACKENDS)
def test_digits_are_learned(backend, capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: no digits")
    argv = ["train", "digits", "--epochs", "8", "--backend", backend, "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() >= {"accuracy", "epochs", "wall_s", "step_ms"}
    assert report["accuracy"] >= 0.95
    assert (report["epochs"], report["backend"]) == (8, backend)


def test_encoding_keeps_the_brightness_of_every_pixel():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: no digits")
    from spikexla.train import digits

    images = np.arange(17, dtype=np.float32)[None] / 16
    spikes = np.asarray(digits.encode(images))
    assert set(np.unique(spikes)) == {0.0, 1.0}
    np.testing.assert_array_equal(spikes.sum(axis=0), images * 16)


def test_info_lists_versions_and_kernels(capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["jax"] == jax.__version__
    assert len(facts["devices"]) == len(jax.devices())
    assert facts["threads"] >= 1
    if has_native():
        listed = {(row["name"], row["platform"]) for row in facts["kernels"]}
        assert listed == set(library.kernels())
        assert facts["simd"]["level"] in facts["simd"]["compiled"]
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert all(row["name"] in text for row in facts["kernels"])


def test_help_lists_the_commands_and_bench_gets_its_own_arguments(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("simulate", "train", "info", "bench"))
    assert main(["bench", "--help"]) == 0
    assert "suite" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("spikexla ")


def test_the_command_in_a_process_of_its_own():
    """One object on stdout, and the command line itself loads no package that only it needs."""
    code = (
        "import sys; from spikexla.cli.main import main; "
        "heavy = {'matplotlib', 'h5py', 'rich', 'sklearn', 'optax', 'brainunit'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "raise SystemExit(main(sys.argv[1:]))"
    )
    argv = ["simulate", "coba", *SMALL, "--threads", "1", "--json", "--backend", "xla"]
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == REPORT
