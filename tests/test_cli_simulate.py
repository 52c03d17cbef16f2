"""`spikexla simulate`: figures, files, seeds and threads."""

from __future__ import annotations

import json
import os

import pytest
import spikexla as sx
from cli_cases import BACKENDS, DRAWN, FILES, REPORT, SMALL, has_native, names, what_figures_need
from spikexla.bench import machine
from spikexla.cli import options
from spikexla.cli.main import main
from spikexla.ops import library

pytestmark = pytest.mark.usefixtures("threads_as_they_were")


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
    what_figures_need()
    import h5py

    out = tmp_path / "results" / "coba"
    assert main(["simulate", "coba", *SMALL, "--out", str(out)]) == 0
    assert names(out) == FILES
    assert names(tmp_path) == ["results"]
    assert names(tmp_path / "results") == ["coba"]
    report = json.loads((out / "report.json").read_text())
    assert report.keys() == REPORT | DRAWN
    with h5py.File(out / "spikes.h5") as file:
        for name, n in (("E", 320), ("I", 80)):
            times, ids = file[f"spikes/{name}/timestamps"][:], file[f"spikes/{name}/node_ids"][:]
            assert ((times > 0) & (times <= 20.0 + 1e-9)).all()
            assert (ids < n).all()
            rate = len(ids) / n / report["duration_s"]
            assert rate == pytest.approx(report["rates_hz"][name])
    for figure in ("raster.png", "distributions.png"):
        assert (out / figure).read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr()
    for word in ("neurons", "synapses", "real-time factor", "mean rate", "peak memory", "threads"):
        assert word in shown.out
    assert "Traceback" not in shown.err


def test_a_folder_that_exists_keeps_its_other_files(tmp_path):
    what_figures_need()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "report.json").write_text("old")
    assert main(["simulate", "cuba", *SMALL, "--out", str(tmp_path)]) == 0
    assert names(tmp_path) == sorted(["notes.txt", *FILES])
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
    if has_native():
        assert library.native().thread_limit() == 1
