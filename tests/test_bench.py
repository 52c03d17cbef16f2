"""Every benchmark runs at a tiny size, its competitors agree, and a disagreement is an error."""

from __future__ import annotations

import dataclasses
import importlib
import json

import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.bench import machine, peers, report, sparse, timing
from spikexla.bench.report import NATIVE, Row
from spikexla.bench.timing import Plan, Sample
from spikexla.cli.bench import SUITES
from spikexla.cli.main import main
from spikexla.ops import library

TINY = Plan(rounds=2, target=0.001, quick=True)
SIZES = {
    "step": 100,
    "scan": 10,
    "grad": 4,
    "reset": 3,
    "matvec": 500,
    "network": 500,
    "state": 2,
    "levels": 64,
}
LEVELS = library.native().machine_levels()


def test_every_suite_has_a_tiny_size_here():
    assert set(SIZES) == set(SUITES)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("suite", SUITES)
def test_competitors_agree_and_are_timed(suite):
    rows = list(importlib.import_module(f"spikexla.bench.{suite}").rows([SIZES[suite]], TINY))
    assert rows
    for row in rows:
        assert row.error is None, f"{row.case}: {row.error}"
        assert NATIVE in row.samples
        assert len(row.samples) >= 2 or (suite == "levels" and len(LEVELS) == 1)
        for sample in row.samples.values():
            assert sample.runs == TINY.rounds
            assert 0 < sample.min <= sample.median <= sample.max


def test_command_prints_a_table_and_writes_json(tmp_path, capsys):
    file = tmp_path / "deep" / "scan.json"
    assert main(["bench", "scan", "--quick", "--sizes", "1e1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "T=1,000 N=10 " in printed
    assert "hand-written" in printed
    found = json.loads(file.read_text())
    assert found["suite"] == "scan"
    assert {"cpu", "cores", "simd", "versions"} <= set(found["machine"])
    assert [row["case"] for row in found["rows"]] == ["T=1,000 N=10"]
    native = found["rows"][0]["seconds"][NATIVE]
    assert native["runs"] == timing.QUICK.rounds
    assert native["min"] <= native["median"] <= native["max"]


def test_rows_that_disagree_end_with_one(monkeypatch, capsys):
    scan = importlib.import_module("spikexla.bench.scan")
    monkeypatch.setattr(scan.models, "hand_scan", lambda V, x: (V, jnp.ones_like(x)))
    assert main(["bench", "scan", "--quick", "--sizes", "10"]) == 1
    assert "N=10 ERROR" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["0", "-5", "1.5", "many", "nan", "inf"])
def test_a_bad_size_is_a_bad_request(size, capsys):
    assert main(["bench", "scan", f"--sizes={size}"]) == 2
    assert "is no number of neurons" in capsys.readouterr().err


def test_a_ratio_is_against_the_fastest_competitor():
    row = Row("case", {NATIVE: _sample(2.0), "slow": _sample(9.0), "fast": _sample(3.0)}, goal=2.0)
    assert (row.rival, row.ratio) == ("fast", 1.5)
    assert "2x MISSED" in report.table([row])
    assert "MISSED" not in report.table([dataclasses.replace(row, goal=1.4)])


def test_an_extra_is_over_the_competitor_it_names():
    row = Row("case", {NATIVE: _sample(5e-6), "jax": _sample(3e-6), "slow": _sample(9e-6)})
    for extra, missed in ((3e-6, False), (1e-6, True)):
        text = report.table([dataclasses.replace(row, extra=extra, against="jax")])
        assert f"+{extra * 1e6:g} us" in text
        assert ("MISSED" in text) is missed


def test_peers_are_named_whether_installed_or_not(monkeypatch):
    known = set(peers.PACKAGES)
    monkeypatch.setattr(peers, "is_installed", lambda column: False)
    assert known == set(peers.measured().partition(": ")[2].split(", "))
    assert peers.imports() == peers.counters(1, 1) == peers.steps(1) == peers.networks(1, 0.1) == {}
    assert peers.starts("init_all_states", 1, 1, 1) == {}


def test_disagreement_names_what_differs_and_refuses_nothing_at_all():
    assert report.disagreement("spikes", {"a": 10, "b": 10}) is None
    assert report.disagreement("spikes", {"a": 1000, "b": 1001}, within=1e-3) is None
    assert report.disagreement("spikes", {"a": 10, "b": 11}) == "spikes differ: a 10, b 11"
    assert report.disagreement("spikes", {"a": 10, "b": float("nan")}) is not None
    assert report.disagreement("spikes", {"a": 0, "b": 0}) == "no spikes: a 0, b 0"


def test_timings_interleave_and_restore_before_each():
    order = []
    loops = {name: lambda calls, name=name: order.append(name) for name in "ab"}
    samples = timing.interleave(loops, TINY, before=lambda name: order.append(f"reset {name}"))
    once = ["reset a", "a", "reset b", "b"]
    assert order[-8:] == once * 2
    assert {s.calls for s in samples.values()} == {1}


def test_copy_bandwidth_is_measured_once_per_power_of_two():
    assert machine.copy_bandwidth(2**20) == machine.copy_bandwidth(2**20 - 7)
    assert machine.copy_bandwidth(2**20) > 1e8


@pytest.mark.parametrize("active", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("per_source", [False, True])
def test_hand_written_deliveries_add_the_dense_product(active, per_source):
    rng = np.random.default_rng(0)
    n_pre, n_post = 50, 30
    indices = rng.integers(0, n_post, (n_pre, 4), dtype=np.int32)
    weight = rng.integers(1, 5, n_pre).astype(np.float32) if per_source else np.float32(2)
    spikes = rng.random(n_pre) < active
    W = np.zeros((n_pre, n_post), np.float32)
    np.add.at(W, (np.arange(n_pre)[:, None], indices), weight[:, None] if per_source else weight)
    y = jnp.ones(n_post, jnp.float32)
    rows = sparse.with_spare_row(jnp.asarray(indices), n_post)
    chunks = sparse.nonzero_chunks(rows, weight, jnp.asarray(spikes), y)
    assert np.array_equal(chunks, 1 + spikes @ W)
    if not per_source:
        whole = sparse.every_synapse(jnp.asarray(indices), weight, jnp.asarray(spikes), y)
        assert np.array_equal(whole, 1 + spikes @ W)


def _sample(seconds: float) -> Sample:
    return Sample(3, 1, seconds, seconds, seconds)
