"""The command line in trouble: one clear line, an exit code, and nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from cli_cases import (
    SMALL,
    denied,
    has_native,
    names,
    never,
    no_kernels,
    raiser,
    what_figures_need,
)
from spikexla import network
from spikexla.cli import output
from spikexla.cli.main import main
from spikexla.network.sonata import read_spikes
from spikexla.ops import library

pytestmark = pytest.mark.usefixtures("threads_as_they_were")


BAD = {
    "no command": ([], "COMMAND"),
    "command": (["fly"], "'fly'"),
    "model": (["simulate", "potjans"], "'coba', 'cuba', 'brunel', 'microcircuit'"),
    "backend": (["simulate", "coba", "--backend", "cuda"], "'native', 'xla'"),
    "neurons 0": (["simulate", "coba", "--neurons", "0"], "'0' is not a whole number"),
    "neurons -5": (["simulate", "coba", "--neurons", "-5"], "'-5' is not a whole number"),
    "neurons 4": (["simulate", "coba", "--neurons", "4"], "10 or more"),
    "neurons 1.5": (["simulate", "coba", "--neurons", "1.5"], "'1.5' is not a whole number"),
    "duration 0": (["simulate", "coba", "--duration", "0s"], "'0s' is not a positive time"),
    "duration -1s": (["simulate", "coba", "--duration", "-1s"], "'-1s' is not a positive time"),
    "duration nan": (["simulate", "coba", "--duration", "nan"], "'nan' is not a positive time"),
    "duration inf": (["simulate", "coba", "--duration", "infs"], "'infs' is not a positive time"),
    "duration unit": (["simulate", "coba", "--duration", "3 parsec"], "write it as 1s"),
    "duration overflow": (["simulate", "coba", "--duration", "1e308min"], "not a positive time"),
    "too many steps": (["simulate", "coba", "--duration", "1e9s"], "1e+13 steps"),
    "dt of nothing": (["simulate", "coba", "--dt", "1e-320ms"], "inf steps"),
    "no step": (["simulate", "coba", "--duration", "0.01ms"], "shorter than one step"),
    "a step and a half": (
        ["simulate", "coba", "--duration", "0.15ms"],
        "0.15ms is no whole number",
    ),
    "dt of a third": (["simulate", "brunel", "--dt", "0.3ms"], "Take for example 999.9ms"),
    "warm-up of a step and a half": (
        ["simulate", "brunel", "--warmup", "0.15ms"],
        "--warmup 0.15ms is no whole number",
    ),
    "validated for part of a step": (
        ["validate", "microcircuit", "--duration", "100.05ms"],
        "--duration 100.05ms is no whole number",
    ),
    "warmup nan": (["simulate", "brunel", "--warmup", "nan"], "'nan' is not a time of 0 or more"),
    "no step to warm up": (
        ["simulate", "brunel", "--warmup", "1us"],
        "--warmup 0.001ms is shorter",
    ),
    "too long a warm-up": (["simulate", "brunel", "--warmup", "1e9s"], "--warmup 1e+12ms is 1e+13"),
    "dt 0": (["simulate", "coba", "--dt", "0"], "'0' is not a positive time"),
    "dt -0.1": (["simulate", "coba", "--dt", "-0.1"], "'-0.1' is not a positive time"),
    "threads 0": (["simulate", "coba", "--threads", "0"], "'0' is not a whole number of 1"),
    "seed": (["simulate", "coba", "--seed", "-1"], "'-1' is not a whole number of 0"),
    "seed 2**63": (["simulate", "coba", "--seed", str(2**63)], "is more than"),
    "seed of training": (["train", "digits", "--seed", "9" * 30], "is more than"),
    "neurons of 32 bits": (["simulate", "coba", "--neurons", str(2**31)], "is more than"),
    "neurons for a TB": (["simulate", "coba", "--neurons", str(2**31 - 1)], "687 GB or more"),
    "out": (["simulate", "coba", "--out", ""], "the name is empty"),
    "to": (["simulate", "coba", "--to", ""], "the name is empty"),
    "to and out": (["simulate", "coba", "--to", "a", "--out", "a"], "Name them apart"),
    "order 9": (["simulate", "brunel", "--order", "9"], "10 or more"),
    "order for a TB": (["simulate", "brunel", "--order", "500000"], "GB or more"),
    "g -1": (["simulate", "brunel", "--g", "-1"], "'-1' is not a number of 0 or more"),
    "eta inf": (["simulate", "brunel", "--eta", "inf"], "'inf' is not a number of 0 or more"),
    "eta 100": (["simulate", "brunel", "--order", "10", "--eta", "100"], "events in a step"),
    "dt 2": (["simulate", "brunel", "--order", "10", "--dt", "2"], "dt = 2 ms is longer"),
    "suite": (["bench", "speed"], "'step', 'scan'"),
    "no suite": (["bench"], "suite"),
    "size": (["bench", "step", "--sizes", "0.5"], "no number of neurons"),
    "epochs 0": (["train", "digits", "--epochs", "0"], "'0' is not a whole number"),
    "task": (["train", "mnist"], "'mnist'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_one_line_and_exit_code_2(case, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", never)
    argv, message = BAD[case]
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1


UNWRITABLE = {
    "file": "is a file, not a folder",
    "file/below": "is a file, not a folder",
    "link": "is a link to nowhere, not a folder",
    "folder": "spikes.h5 is a folder",
    "x" * 300: "File name too long",
    "new/" + "x" * 300: "File name too long",
}


@pytest.mark.parametrize("out", UNWRITABLE, ids=lambda name: name[:12])
def test_a_place_that_cannot_be_written_to_is_refused_before_simulating(
    out, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(network, "simulate", never)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    (tmp_path / "folder" / "spikes.h5").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / out)]) == 2
    assert UNWRITABLE[out] in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_somebody_else_is_refused_before_simulating(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", never)
    monkeypatch.setattr("tempfile.mkdtemp", denied)
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 2
    assert "cannot be written (Permission denied" in capsys.readouterr().err
    assert main(["bench", "reset", "--json", str(tmp_path / "reset.json")]) == 2
    assert "--json" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path):
    with output.staged_folder("--out", str(tmp_path / "a" / "b"), ["x"]) as stage:
        (stage / "x").write_text("new")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "y").write_text("mine")
    assert sorted(tmp_path.rglob("[xy]")) == [tmp_path / "a" / "b" / "x", tmp_path / "a" / "y"]
    assert names(tmp_path) == ["a"]


def test_a_disk_that_fills_up_is_a_bad_place_and_keeps_what_was_there(
    tmp_path, capsys, monkeypatch
):
    what_figures_need()
    (tmp_path / "report.json").write_text("old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("spikexla.viz.raster.save_raster", raiser(full))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path)]) == 2
    assert "(No space left on device)" in capsys.readouterr().err
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", -15), ("SIGHUP", -1)], ids=lambda x: str(x)
)
def test_a_signal_ends_the_command_and_leaves_nothing_behind(name, code, tmp_path):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored where these tests run, as nohup does, and in children")
    argv = ["simulate", "coba", "--neurons", "400", "--duration", "1e5s", "--out", tmp_path / "a"]
    command = [sys.executable, "-m", "spikexla.cli", *map(str, argv)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            while not names(tmp_path) and process.poll() is None:
                time.sleep(0.05)
            for _ in range(20):  # Python loses a KeyboardInterrupt that falls into a collection
                process.send_signal(getattr(signal, name))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                    break
            assert process.poll() == code
        finally:
            process.kill()
        assert process.stdout.read() == b""
    assert names(tmp_path) == []


def test_a_reader_that_leaves_is_no_error():
    command = [sys.executable, "-m", "spikexla.cli", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == b""


SETTINGS = {
    "SPIKEXLA_BACKEND": ("fast", "unknown backend 'fast'"),
    "SPIKEXLA_SIMD": ("mmx", "SPIKEXLA_SIMD=mmx"),
    "JAX_PLATFORMS": ("abacus", "JAX_PLATFORMS=abacus"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_of_the_environment_is_a_bad_request(name):
    value, message = SETTINGS[name]
    if name == "SPIKEXLA_SIMD" and not has_native():
        pytest.skip("kernels are not built")
    done = subprocess.run(
        [sys.executable, "-m", "spikexla.cli", "simulate", "coba", *SMALL, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, name: value},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_packages_are_named_before_simulating(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", never)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 2
    shown = capsys.readouterr().err
    assert "h5py" in shown
    assert "pip install 'spikexla[all]'" in shown
    assert names(tmp_path) == []
    for name in ("sklearn.datasets", "sklearn"):  # without the one, or without the whole package
        monkeypatch.setitem(sys.modules, name, None)
        assert main(["train", "digits"]) == 2
        assert "package sklearn" in capsys.readouterr().err


def test_missing_kernels_are_an_error_only_where_they_are_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(library, "native", no_kernels)
    assert main(["simulate", "coba", *SMALL, "--backend", "native"]) == 2
    assert "sx.backend('xla')" in capsys.readouterr().err
    assert main(["info"]) == 0
    assert "no compiled kernels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("3 TB"), 1, "MemoryError: 3 TB"),
        (ValueError("two\nlines"), 1, "ValueError: two lines"),
    ],
)
def test_what_ends_early_leaves_nothing_behind(
    failure, code, message, tmp_path, capsys, monkeypatch
):
    what_figures_need()
    monkeypatch.setattr(network, "simulate", raiser(failure))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "a" / "b")]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert names(tmp_path) == []


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    what_figures_need()
    monkeypatch.setattr("spikexla.viz.raster.save_raster", raiser(KeyboardInterrupt()))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 130
    assert names(tmp_path) == []


def test_debug_shows_where(monkeypatch):
    monkeypatch.setattr(network, "simulate", raiser(ValueError("deep")))
    with pytest.raises(ValueError, match="deep"):
        main(["simulate", "coba", *SMALL, "--debug"])


CLOSED = {"stderr": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.mark.skipif(sys.platform == "win32", reason="closes the streams by a shell of POSIX")
@pytest.mark.parametrize("case", CLOSED)
def test_a_standard_stream_that_is_closed_is_no_failure(case, tmp_path):
    """Daemons have it so; what would be printed is lost, and no file takes the stream's place."""
    pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
    path = tmp_path / "spikes.h5"
    argv = [sys.executable, "-m", "spikexla.cli", "simulate", "coba", "--to", path]
    command = f"exec {shlex.join(map(str, [*argv, '--neurons', 100, '--duration', '20ms']))}"
    done = subprocess.run(["sh", "-c", f"{command} {CLOSED[case]}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("COBA" in done.stdout) == (case == "stderr")
    assert len(read_spikes(path)["E"].times_ms) > 0
