"""`spikexla simulate --to`: spikes go to a file as they come; figures show the first of them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import spikexla as sx
from cli_cases import SMALL, names, never, raiser, what_figures_need
from spikexla import network
from spikexla.cli import collect
from spikexla.cli.main import main
from spikexla.network.sonata import read_spikes
from spikexla.network.spikefile import SpikeFile

pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
pytestmark = pytest.mark.usefixtures("threads_as_they_were")
LONG = ["simulate", "coba", "--neurons", "400", "--duration", "1s", "--seed", "3"]


def test_the_file_has_the_spikes_of_the_network(tmp_path, capsys, dt):
    """From 0 on, though the network was simulated before."""
    file = tmp_path / "spikes.h5"
    argv = ["simulate", "coba", *SMALL, "--warmup", "5ms", "--to", str(file), "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert names(tmp_path) == ["spikes.h5"]
    net = sx.COBANet(400, seed=3)
    sx.simulate(net, 5.0)
    spikes = sx.simulate(net, 20.0).spikes["N"]
    kinds = {"E": spikes.ids < 320, "I": spikes.ids >= 320}
    for name, train in read_spikes(file).items():
        np.testing.assert_allclose(train.times_ms, spikes.times_ms[kinds[name]] - 5.0)
        np.testing.assert_array_equal(train.node_ids, spikes.ids[kinds[name]] - 320 * (name == "I"))
        n = {"E": 320, "I": 80}[name]
        assert report["rates_hz"][name] == pytest.approx(len(train.times_ms) / n / 0.02)


def test_a_run_three_times_as_long_takes_the_same_memory(tmp_path):
    command = [sys.executable, "-m", "spikexla.cli", "simulate", "brunel", "--json"]
    busy = ["--order", "100", "--g", "0", "--eta", "10"]  # 500 neurons, each at 330 Hz
    peaks_mb = {}
    for duration in ("20s", "60s"):
        argv = [*command, *busy, "--duration", duration, "--to", str(tmp_path / duration)]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks_mb[duration] = json.loads(done.stdout)["peak_rss_mb"]
    written = [(tmp_path / duration).stat().st_size for duration in peaks_mb]
    assert written[1] - written[0] > 100e6
    assert peaks_mb["60s"] - peaks_mb["20s"] < 20


def test_ctrl_c_ends_a_run_whose_file_can_be_read(tmp_path):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("SIGINT is ignored where these tests run, as nohup does, and in children")
    file = tmp_path / "spikes.h5"
    argv = ["simulate", "coba", "--neurons", "400", "--duration", "1e5s", "--to", str(file)]
    command = [sys.executable, "-m", "spikexla.cli", *argv]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            while process.poll() is None and not (file.exists() and file.stat().st_size > 1e6):
                time.sleep(0.05)
            for _ in range(20):  # Python loses a KeyboardInterrupt that falls into a collection
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                    break
            assert process.poll() == 130
        finally:
            process.kill()
        (line,) = process.stderr.read().decode().strip().splitlines()
    seconds = float(re.search(r"has the first ([0-9.]+) s", line)[1])
    times = read_spikes(file)["E"].times_ms
    assert 0.9 * seconds < times.max() / 1e3 <= seconds * (1 + 1e-9)


SMALL_DISK = """
import resource, sys
from spikexla.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, resource.RLIM_INFINITY))
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_disk_that_is_full_holds_what_came_before(tmp_path):
    """The limit of the system stands for a full disk: it refuses the writes themselves."""
    file = tmp_path / "spikes.h5"
    busy = ["simulate", "brunel", "--order", "100", "--g", "0", "--eta", "10", "--duration", "20s"]
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, *busy, "--to", str(file)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    seconds = float(re.search(r"File too large.* has the first ([0-9.]+) s", line)[1])
    times = read_spikes(file)["E"].times_ms
    assert 0.9 * seconds < times.max() / 1e3 <= seconds * (1 + 1e-9)


def test_figures_and_spikes_may_go_to_two_places(tmp_path, capsys):
    what_figures_need()
    file, out = tmp_path / "spikes.h5", tmp_path / "out"
    assert main(["simulate", "cuba", *SMALL, "--to", str(file), "--out", str(out)]) == 0
    assert names(out) == ["distributions.png", "raster.png", "report.json"]
    assert "spikes.h5" in capsys.readouterr().out
    assert read_spikes(file).keys() == {"E", "I"}


def test_a_file_that_is_there_is_refused_before_simulating(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(network, "simulate", never)
    file = tmp_path / "spikes.h5"
    file.write_text("mine")
    assert main(["simulate", "coba", *SMALL, "--to", str(file)]) == 2
    assert "there is a file already" in capsys.readouterr().err
    assert main(["simulate", "coba", *SMALL, "--to", str(tmp_path / "no" / "spikes.h5")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert file.read_text() == "mine"


FULL = OSError(errno.ENOSPC, "No space left on device: no room for 3 MB more")
STOPS = {
    "Ctrl-C": (KeyboardInterrupt(), 130, ["interrupted: ", " has the first 0.2 s"]),
    "a full disk": (FULL, 2, ["(No space left on device)", " has the first 0.2 s. Free some"]),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_is_recorded_stays_when_the_run_ends_early(stop, tmp_path, capsys, monkeypatch):
    error, code, says = STOPS[stop]
    append = SpikeFile.append

    def fails_later(file, trains, until_ms):
        if until_ms > 250:
            raise error
        append(file, trains, until_ms)

    monkeypatch.setattr(SpikeFile, "append", fails_later)
    file = tmp_path / "spikes.h5"
    assert main([*LONG, "--to", str(file)]) == code
    shown = capsys.readouterr()
    assert all(text in shown.err for text in says), shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""
    times = read_spikes(file)["E"].times_ms
    assert 100 < times.max() <= 200.0 + 1e-6


@pytest.mark.parametrize("stop", STOPS)
def test_a_file_without_a_finished_chunk_is_gone(stop, tmp_path, capsys, monkeypatch):
    error, code, _ = STOPS[stop]
    monkeypatch.setattr(SpikeFile, "append", raiser(error))
    assert main([*LONG, "--to", str(tmp_path / "spikes.h5")]) == code
    assert "has the first" not in capsys.readouterr().err
    assert names(tmp_path) == []


def test_a_missing_elephant_is_named_before_simulating(tmp_path, capsys, monkeypatch):
    for name in ("h5py", "matplotlib"):
        pytest.importorskip(name, reason=f"{name} is not installed: no --out")
    monkeypatch.setattr(network, "simulate", never)
    monkeypatch.setitem(sys.modules, "elephant", None)
    assert main(["simulate", "coba", *SMALL, "--out", str(tmp_path / "new")]) == 2
    shown = capsys.readouterr().err
    assert "package elephant" in shown
    assert "pip install 'spikexla[all]'" in shown
    assert names(tmp_path) == []


def test_figures_show_an_excerpt_and_rates_are_of_the_whole_run(tmp_path, capsys, monkeypatch):
    what_figures_need()
    drawn = {}
    monkeypatch.setattr("spikexla.viz.raster.save_raster", lambda *a, **how: drawn.update(how))
    monkeypatch.setattr(collect, "MOST_SPIKES", 2000)
    assert main([*LONG, "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 10 < drawn["duration_ms"] < 500
    assert f"the first {drawn['duration_ms'] / 1e3:.3g} of 1 s" in drawn["title"]
    total = sum(len(train.node_ids) for train in read_spikes(tmp_path / "out/spikes.h5").values())
    assert total > 2000
    assert 320 * report["rates_hz"]["E"] + 80 * report["rates_hz"]["I"] == pytest.approx(total)


# -- the collector --------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 1, 37, 100, 10_000])
def test_an_excerpt_has_all_spikes_up_to_its_end_and_no_more(most, monkeypatch):
    monkeypatch.setattr(collect, "MOST_SPIKES", most)
    rng = np.random.default_rng(most)
    raster = rng.random((200, 30)) < 0.05
    sizes = {"A": 10, "B": 15, "C": 5}  # of two populations
    collector = collect.Collector(sizes, 0.1, excerpt=True)
    collector.begin({"first": 10, "second": 20})
    for chunk in range(4):
        trains = {}
        for name, (low, high) in {"first": (0, 10), "second": (10, 30)}.items():
            steps, ids = np.nonzero(raster[50 * chunk : 50 * chunk + 50, low:high])
            trains[name] = (steps + 1 + 50 * chunk) * 0.1, ids
        collector.append(trains, 5.0 * (chunk + 1))
    end = round(collector.until_ms / 0.1)
    excerpt = collector.excerpt()
    kept = sum(len(spikes) for spikes in excerpt.values())
    assert kept <= most
    assert kept == raster[:end].sum()
    assert end == 200 or kept + raster[end].sum() > most  # and as long as may be
    low = 0
    for name, n in sizes.items():
        steps, ids = np.nonzero(raster[:end, low : low + n])
        np.testing.assert_array_equal(excerpt[name].steps, steps)
        np.testing.assert_array_equal(excerpt[name].ids, ids)
        rates = raster[:, low : low + n].sum(0) / 0.02
        np.testing.assert_allclose(collector.rates_hz()[name], rates)
        low += n


# -- simulate(to=a sink) --------------------------------------------------------------------------


class Parts(network.Sink):
    """Keeps what it gets; fails at the third chunk if asked to."""

    def __init__(self, fails=False):
        self.fails, self.got = fails, []

    def append(self, trains, until_ms):
        if self.fails and len(self.got) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.got.append((trains, until_ms))


def test_a_sink_gets_every_chunk_and_nothing_stays_in_memory(dt):
    sink = Parts()
    run = sx.simulate(sx.COBANet(200, seed=3), 30.0, chunk=8.0, to=sink)
    assert [until for _, until in sink.got] == pytest.approx([8.0, 16.0, 24.0, 30.0])
    assert (run.spikes, run.file, run.steps) == ({}, None, 300)
    whole = sx.simulate(sx.COBANet(200, seed=3), 30.0).spikes["N"]
    times = np.concatenate([trains["N"][0] for trains, _ in sink.got])
    np.testing.assert_array_equal(times, whole.times_ms)
    np.testing.assert_array_equal(
        np.concatenate([trains["N"][1] for trains, _ in sink.got]), whole.ids
    )


def test_a_chunk_that_a_sink_refuses_is_not_in_the_states(dt):
    net, sink = sx.COBANet(200, seed=3), Parts(fails=True)
    with pytest.raises(OSError, match="Input/output") as failed:
        sx.simulate(net, 30.0, chunk=8.0, to=sink)
    assert failed.value.result.steps == 160
    twin = sx.COBANet(200, seed=3)
    sx.simulate(twin, 16.0)
    np.testing.assert_array_equal(net.N.V.value, twin.N.V.value)


def test_a_sink_is_not_appended_to(dt):
    with pytest.raises(ValueError, match="append=True is for files"):
        sx.simulate(sx.COBANet(200), 1.0, to=Parts(), append=True)


def test_nothing_is_appended_to_no_file(dt):
    with pytest.raises(ValueError, match="Name it by to="):
        sx.simulate(sx.COBANet(200), 1.0, append=True)


@pytest.mark.parametrize("start", [0.05, float("nan"), float("inf")])
def test_a_sink_begins_at_a_step(start, dt):
    sink = Parts()
    sink.start_ms = start
    with pytest.raises(ValueError, match=f"ends at {start:g} ms, which is no whole number"):
        sx.simulate(sx.COBANet(200), 1.0, to=sink)
