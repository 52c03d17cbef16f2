"""`spikexla bench network --against`: other simulators are found, asked, timed and compared."""

from __future__ import annotations

import json

import pytest
from spikexla.bench.against import network, simulators
from spikexla.bench.against.simulators import SIMULATORS, SimulatorError
from spikexla.bench.report import NATIVE
from spikexla.bench.timing import Plan
from spikexla.cli.main import main

TINY = Plan(rounds=2, target=0.001, quick=True)
NAMES = list(SIMULATORS)
N = 500


def test_names_are_taken_once_in_their_order_and_unknown_ones_refused():
    assert simulators.named("nest, brian2,nest") == ["nest", "brian2"]
    for text in ("neuron", "nest,", ""):
        with pytest.raises(ValueError, match="brainpy, brian2, nest"):
            simulators.named(text)


def pretend(monkeypatch, answers):
    """Simulators that answer as if they fired `factor` times as often as CUBA of ours, or fail."""
    monkeypatch.setattr(network, "NETWORKS", {"CUBA": network.NETWORKS["CUBA"]})
    monkeypatch.setattr(network, "_rate", lambda model, n, seed, window: 5.0 + seed)

    def ask(name, request):
        factor = answers[name]
        if isinstance(factor, Exception):
            raise factor
        spikes = factor * 6.5 * request["n"] * request["ms"] / 1e3  # the mean of our four is 6.5 Hz
        return {"walls": [3.0, 1.0, 2.0], "spikes": [spikes] * 3, "version": "9"}

    monkeypatch.setattr(network, "ask", ask)


def test_rates_that_agree_are_no_error_and_times_are_medians(monkeypatch):
    pretend(monkeypatch, {"brian2": 1.14, "nest": 0.86})
    for row in network.rows(["brian2", "nest"], [N], TINY):
        assert row.error is None
        assert set(row.samples) == {NATIVE, "Brian2", "NEST"}
        assert row.samples["NEST"].median == 2.0 * 1e3 / network.QUICK_WINDOW
        assert row.samples["NEST"].runs == 3
        assert "15%" in row.note
        assert "Brian2 9" in row.note


@pytest.mark.parametrize("factor", [0.84, 1.16, 0.0])
def test_another_rate_is_an_error(monkeypatch, factor):
    pretend(monkeypatch, {"nest": factor})
    rows = list(network.rows(["nest"], [N], TINY))
    assert all("rates (Hz) differ" in row.error for row in rows)


def test_one_that_fails_is_an_error_and_the_others_are_measured(monkeypatch):
    pretend(monkeypatch, {"nest": SimulatorError("NEST ended with 3: no"), "brian2": 1.0})
    for row in network.rows(["nest", "brian2"], [N], TINY):
        assert row.error == "NEST ended with 3: no"
        assert set(row.samples) == {NATIVE, "Brian2"}


def test_the_command_says_how_to_install_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(simulators, "is_installed", lambda name: name == "nest")
    pretend(monkeypatch, {"nest": 1.0})
    arguments = ["bench", "network", "--quick", "--sizes", str(N), "--against", ",".join(NAMES)]
    file = tmp_path / "rows.json"
    assert main([*arguments, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "brainpy.state is not installed: pip install brainpy numba\n" in out
    assert "Brian2 is not installed: pip install 'brian2>=2.10'\n" in out
    assert "ratio: fastest / native" in out
    rows = json.loads(file.read_text())["rows"]
    assert [row["rival"] for row in rows] == ["NEST"]
    assert all(row["ratios"]["NEST"] > 1 for row in rows)


def test_nothing_to_compare_with_is_a_bad_request(monkeypatch, capsys):
    monkeypatch.setattr(simulators, "is_installed", lambda name: False)
    assert main(["bench", "network", "--against", "nest"]) == 2
    assert "pip install nest-simulator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["network", "--against", "neuron"], "'neuron' is no simulator"),
        (["scan", "--against", "nest"], "option of the suite network"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_a_bad_request_is_named(arguments, says, capsys):
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_program_that_fails_says_its_last_line(monkeypatch):
    monkeypatch.setitem(SIMULATORS, "none", simulators.Simulator("None", (), "none"))
    with pytest.raises(SimulatorError, match=r"None ended with 2: .*run_none\.py"):
        simulators.ask("none", {"threads": 1})


@pytest.mark.parametrize("name", NAMES)
def test_an_installed_simulator_answers(name):
    if not simulators.is_installed(name):
        pytest.skip(f"not installed: pip install {SIMULATORS[name].packages}")
    request = {
        "model": "CUBA", "n": N, "targets": 80, "ms": 50.0, "dt": 0.1, "seed": 1, "threads": 1,
        "rounds": 2, "budget_s": 60.0,
    }  # fmt: skip
    answer = simulators.ask(name, request)
    assert len(answer["walls"]) == len(answer["spikes"]) == 2
    assert min(answer["walls"]) > 0
    assert 0.5 < min(answer["spikes"]) / N / 0.05 < 50
    assert answer["version"]
