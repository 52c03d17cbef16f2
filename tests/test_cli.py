"""The command line: figures, files, exit codes, and nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import spikexla as sx
from spikexla import network
from spikexla.bench import machine
from spikexla.cli import options, output
from spikexla.cli.main import main
from spikexla.ops import library

REPORT = {
    "model", "neurons", "synapses", "duration_s", "wall_s", "rtf", "rates_hz", "build_s",
    "compile_s", "backend", "threads", "peak_rss_mb",
}  # fmt: skip
FILES = ["raster.png", "report.json", "spikes.h5"]
SMALL = ["--neurons", "400", "--duration", "20ms", "--seed", "3"]


def _has_native() -> bool:
    try:
        library.native()
    except library.LibraryError:
        return False
    return True


BACKENDS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(not _has_native(), reason="kernels are not built")
    ),
    "xla",
]


@pytest.fixture(autouse=True)
def threads_as_they_were(monkeypatch):
    """`--threads` sets variables and the limit of the kernels for the whole process."""
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.setenv(name, "2")
        monkeypatch.delenv(name)
    yield
    if _has_native():
        library.native().set_thread_limit(0)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- simulate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["coba", "cuba"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_json_is_one_object_with_the_figures(model, backend, capsys):
    before = sx.backend.current()
    assert main(["simulate", model, *SMALL, "--backend", backend, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == REPORT
    assert (report["model"], report["backend"]) == (model, backend)
    assert (report["neurons"], report["duration_s"]) == (400, pytest.approx(0.02))
    assert report["synapses"] > 400
    assert report["rtf"] == pytest.approx(report["wall_s"] / report["duration_s"])
    assert report["rates_hz"].keys() == {"E", "I"}
    assert all(0 <= rate < 1000 for rate in report["rates_hz"].values())
    assert report["peak_rss_mb"] > 10
    assert sx.backend.current() == before


def test_out_holds_spikes_figure_and_report(tmp_path, capsys):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    out = tmp_path / "results" / "coba"
    assert main(["simulate", "coba", *SMALL, "--out", str(out)]) == 0
    assert _names(out) == FILES
    assert _names(tmp_path) == ["results"]
    assert _names(tmp_path / "results") == ["coba"]
    report = json.loads((out / "report.json").read_text())
    assert report.keys() == REPORT
    with h5py.File(out / "spikes.h5") as file:
        for name, n in (("E", 320), ("I", 80)):
            times, ids = file[f"spikes/{name}/timestamps"][:], file[f"spikes/{name}/node_ids"][:]
            assert ((times > 0) & (times <= 20.0 + 1e-9)).all()
            assert (ids < n).all()
            rate = len(ids) / n / report["duration_s"]
            assert rate == pytest.approx(report["rates_hz"][name])
    assert (out / "raster.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr()
    for word in ("neurons", "synapses", "real-time factor", "mean rates", "peak memory", "threads"):
        assert word in shown.out
    assert "Traceback" not in shown.err


def test_a_folder_that_exists_keeps_its_other_files(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "report.json").write_text("old")
    assert main(["simulate", "cuba", *SMALL, "--out", str(tmp_path)]) == 0
    assert _names(tmp_path) == ["notes.txt", *FILES]
    assert json.loads((tmp_path / "report.json").read_text())["model"] == "cuba"


def test_the_same_seed_gives_the_same_network(capsys):
    reports = []
    for seed in ("1", "1", "2"):
        main(["simulate", "coba", *SMALL[:-1], seed, "--json"])
        reports.append(json.loads(capsys.readouterr().out))
    rates = [report["rates_hz"] for report in reports]
    assert rates[0] == rates[1] != rates[2]


def test_more_threads_than_processors_are_not_started(capsys):
    assert main(["simulate", "coba", *SMALL, "--threads", str(2**31 - 1), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == machine.cores()
    assert os.environ["PJRT_NPROC"] == str(machine.cores())


@pytest.mark.parametrize(("value", "threads"), [("0", 1), ("1", 1), ("many", machine.cores())])
def test_threads_are_counted_as_xla_reads_them(value, threads, monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", value)
    assert options.threads_in_use() == threads


def test_threads_limit_both_pools(capsys):
    assert main(["simulate", "coba", *SMALL, "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == 1
    assert os.environ["PJRT_NPROC"] == "1"
    if _has_native():
        assert library.native().thread_limit() == 1


# -- failures --------------------------------------------------------------------------------------

BAD = {
    "no command": ([], "COMMAND"),
    "command": (["fly"], "'fly'"),
    "model": (["simulate", "potjans"], "'coba', 'cuba'"),
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
    "dt 0": (["simulate", "coba", "--dt", "0"], "'0' is not a positive time"),
    "dt -0.1": (["simulate", "coba", "--dt", "-0.1"], "'-0.1' is not a positive time"),
    "threads 0": (["simulate", "coba", "--threads", "0"], "'0' is not a whole number of 1"),
    "seed": (["simulate", "coba", "--seed", "-1"], "'-1' is not a whole number of 0"),
    "seed 2**63": (["simulate", "coba", "--seed", str(2**63)], "is more than"),
    "seed of training": (["train", "digits", "--seed", "9" * 30], "is more than"),
    "neurons of 32 bits": (["simulate", "coba", "--neurons", str(2**31)], "is more than"),
    "neurons for a TB": (["simulate", "coba", "--neurons", str(2**31 - 1)], "687 GB or more"),
    "out": (["simulate", "coba", "--out", ""], "the name is empty"),
    "suite": (["bench", "speed"], "'step', 'scan'"),
    "no suite": (["bench"], "suite"),
    "size": (["bench", "step", "--sizes", "0.5"], "no number of neurons"),
    "epochs 0": (["train", "digits", "--epochs", "0"], "'0' is not a whole number"),
    "task": (["train", "mnist"], "'mnist'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_one_line_and_exit_code_2(case, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", _never)
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
    monkeypatch.setattr(network, "simulate", _never)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    (tmp_path / "folder" / "spikes.h5").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / out)]) == 2
    assert UNWRITABLE[out] in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_somebody_else_is_refused_before_simulating(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", _never)
    monkeypatch.setattr("tempfile.mkdtemp", _denied)
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 2
    assert "cannot be written (Permission denied" in capsys.readouterr().err
    assert main(["bench", "reset", "--json", str(tmp_path / "reset.json")]) == 2
    assert "--json" in capsys.readouterr().err
    assert _names(tmp_path) == []


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path):
    with output.staged_folder("--out", str(tmp_path / "a" / "b"), ["x"]) as stage:
        (stage / "x").write_text("new")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "y").write_text("mine")
    assert sorted(tmp_path.rglob("[xy]")) == [tmp_path / "a" / "b" / "x", tmp_path / "a" / "y"]
    assert _names(tmp_path) == ["a"]


def test_a_disk_that_fills_up_is_a_bad_place_and_keeps_what_was_there(
    tmp_path, capsys, monkeypatch
):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    (tmp_path / "report.json").write_text("old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("spikexla.viz.raster.save_raster", _raiser(full))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path)]) == 2
    assert "(No space left on device)" in capsys.readouterr().err
    assert _names(tmp_path) == ["report.json"]


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
            while not _names(tmp_path) and process.poll() is None:
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
    assert _names(tmp_path) == []


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
    if name == "SPIKEXLA_SIMD" and not _has_native():
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
    monkeypatch.setattr(network, "simulate", _never)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 2
    shown = capsys.readouterr().err
    assert "h5py" in shown
    assert "pip install 'spikexla[all]'" in shown
    assert _names(tmp_path) == []
    for name in ("sklearn.datasets", "sklearn"):  # without the one, or without the whole package
        monkeypatch.setitem(sys.modules, name, None)
        assert main(["train", "digits"]) == 2
        assert "package sklearn" in capsys.readouterr().err


def test_missing_kernels_are_an_error_only_where_they_are_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(library, "native", _no_kernels)
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
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    monkeypatch.setattr(network, "simulate", _raiser(failure))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "a" / "b")]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert _names(tmp_path) == []


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    monkeypatch.setattr("spikexla.viz.raster.save_raster", _raiser(KeyboardInterrupt()))
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 130
    assert _names(tmp_path) == []


def test_debug_shows_where(monkeypatch):
    monkeypatch.setattr(network, "simulate", _raiser(ValueError("deep")))
    with pytest.raises(ValueError, match="deep"):
        main(["simulate", "coba", *SMALL, "--debug"])


# -- the rest --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("spikes", [0, 5000])
def test_rasters_show_a_sample_of_large_populations(spikes, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")
    from matplotlib.figure import Figure
    from spikexla.viz import raster

    draw = np.random.default_rng(0)
    populations = {
        name: (draw.uniform(0, 100, spikes), draw.integers(0, n, spikes), n)
        for name, n in (("E", 80_000), ("I", 20_000))
    }
    axis = Figure().subplots()
    assert raster._draw_raster(axis, populations, raster.MOST_NEURONS, 1.0) == 1000
    shown = np.concatenate([dots.get_offsets() for dots in axis.collections])
    assert len(shown) <= 2 * spikes / 50
    assert ((shown[:, 1] >= 0) & (shown[:, 1] < 1000)).all()
    raster.save_raster(tmp_path / "raster.png", populations, duration_ms=100.0)
    assert (tmp_path / "raster.png").stat().st_size > 1000


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
    if _has_native():
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


def _never(*_, **__):
    raise AssertionError("the simulation was started")


def _denied(*_, **__):
    raise PermissionError(13, "Permission denied")


def _no_kernels():
    raise library.LibraryError("kernels could not be loaded; choose sx.backend('xla')")


def _raiser(error):
    def fail(*_, **__):
        raise error

    return fail
