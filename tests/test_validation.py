"""The acceptance rule of a validation, its reference values, and `spikexla validate`."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
from spikexla.cli.main import main
from spikexla.network import Spikes, validation
from spikexla.network.microcircuit import NAMES, RATES, SIZES
from spikexla.network.validation import MICROCIRCUIT, WHOLE, Reference, Verdict

needs_elephant = pytest.mark.skipif(
    not importlib.util.find_spec("elephant"), reason="elephant is not installed: no CV, no CC"
)
SMALL = ["validate", "microcircuit", "--scale", "0.02", "--seeds", "2", "--warmup", "20ms"]


@pytest.mark.parametrize(
    ("mean", "sem", "reference", "agrees"),
    [
        (1.049, 0.0, Reference(1.0), True),
        (1.051, 0.0, Reference(1.0), False),
        (0.949, 0.0, Reference(1.0), False),
        (1.19, 0.1, Reference(1.0), True),
        (1.21, 0.1, Reference(1.0), False),
        (1.24, 0.1, Reference(1.0, 0.08), True),  # both errors count: 2 * 0.128
        (1.24, 0.0, Reference(1.0, 0.08), False),
        (-1.049, 0.0, Reference(-1.0), True),
        (float("nan"), 1.0, Reference(1.0), False),
    ],
)
def test_means_agree_within_five_percent_or_two_standard_errors(mean, sem, reference, agrees):
    assert Verdict("rate", "L4E", mean, sem, reference).agrees is agrees


def test_a_standard_error_is_that_of_the_seeds():
    runs = [{"cv": {"L4E": x}} for x in (0.8, 0.9, 1.0)]
    (verdict,) = validation.judged(runs, {"cv": {"L4E": Reference(0.9)}})
    assert verdict.mean == pytest.approx(0.9)
    assert verdict.sem == pytest.approx(0.1 / 3**0.5)
    with pytest.raises(ValueError, match="1 runs"):
        validation.judged(runs[:1], {"cv": {"L4E": Reference(0.9)}})


def test_reference_values_are_those_of_one_network():
    """Near the published rates, and the mean over populations is the rate of the whole."""
    rates = MICROCIRCUIT["poisson"]["rate"]
    means = [rates[name].mean for name in NAMES]
    np.testing.assert_allclose(means, RATES, rtol=0.07)
    assert np.average(means, weights=SIZES) == pytest.approx(rates[WHOLE].mean, rel=1e-3)
    for drive in MICROCIRCUIT.values():
        for row in drive.values():
            assert set(row) <= {*NAMES, WHOLE}
            assert all(0 <= known.error < known.mean for known in row.values())


@pytest.mark.parametrize(
    ("given", "judged"),
    [
        (("poisson", 1.0, 60e3), ["rate"]),
        (("dc", 1.0, 60e3), ["cc", "cv", "rate"]),
        (("dc", 1.0, 10e3), ["cc", "rate"]),
        (("dc", 0.5, 60e3), ["rate"]),
    ],
    ids=str,
)
def test_only_what_the_reference_is_valid_for_is_judged(given, judged):
    assert sorted(validation.references(*given)) == judged


@needs_elephant
def test_a_measurement_has_every_population_and_the_whole():
    rng = np.random.default_rng(0)

    def poisson(n, rate):
        steps, ids = np.nonzero(rng.random((20_000, n)) < rate * 1e-4)
        return Spikes(steps, ids, n, 0.1)

    found = validation.measured({"a": poisson(30, 50.0), "b": poisson(10, 0.1)}, 2000.0)
    assert found["rate"]["a"] == pytest.approx(50.0, rel=0.1)
    whole = (30 * found["rate"]["a"] + 10 * found["rate"]["b"]) / 40
    assert found["rate"][WHOLE] == pytest.approx(whole)
    assert found["cv"]["a"] == pytest.approx(1.0, abs=0.05)
    assert abs(found["cc"]["a"]) < 0.01
    assert np.isnan(found["cv"]["b"])


@needs_elephant
def test_the_report_of_a_circuit_that_is_too_small(capsys):
    """A fiftieth of the size misses the rates; too few spikes have no CV, and no number says so."""
    assert main([*SMALL, "--duration", "100ms", "--json"]) == 1
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["agrees"] is False
    assert [report["drive"] for report in found["drives"]] == ["poisson", "dc"]
    assert [run["rate"].keys() for run in found["drives"][0]["runs"]] == [{*NAMES, WHOLE}] * 2
    verdicts = found["drives"][0]["verdicts"]
    assert {v["quantity"] for v in verdicts} == {"rate"}
    assert not all(v["agrees"] for v in verdicts)
    assert found["drives"][0]["runs"][0]["cv"]["L6E"] is None


@pytest.mark.sampled(1)
@needs_elephant
@pytest.mark.parametrize(
    ("known", "code", "says"),
    [
        (Reference(3.0, 3.0), 0, ["agrees", "1 of 1 agree"]),
        (Reference(300.0), 1, ["MISSES", "0 of 1 agree"]),
    ],
    ids=["near", "far"],
)
def test_the_command_prints_a_verdict_and_ends_with_it(known, code, says, capsys, monkeypatch):
    monkeypatch.setitem(MICROCIRCUIT, "dc", {"rate": {WHOLE: known}})
    assert main([*SMALL, "--duration", "100ms", "--warmup", "0", "--drive", "dc"]) == code
    out = capsys.readouterr().out
    assert all(words in out for words in says)
    assert f"{known.mean:.3f}" in out
    assert "after 0 s" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "1"], "no standard error"),
        (["--scale", "2"], "from 0.001 to 1"),
        (["--duration", "3ms"], "too short"),
        (["--seed", str(2**63 - 1)], "no room"),
        (["--drive", "ac"], "ac"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_a_bad_request_is_named(arguments, says, capsys):
    assert main(["validate", "microcircuit", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_missing_elephant_is_said_before_any_work(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "elephant", None)
    assert main(SMALL) == 2
    assert "elephant" in capsys.readouterr().err
