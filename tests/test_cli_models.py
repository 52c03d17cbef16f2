"""`spikexla simulate brunel` and `microcircuit`: figures, files, options of other models."""

from __future__ import annotations

import json
import re

import pytest
from cli_cases import what_figures_need
from spikexla.cli.main import main
from spikexla.network.microcircuit import NAMES, RATES, SIZES
from spikexla.network.sonata import read_spikes

SMALL = ["microcircuit", "--scale", "0.02", "--duration", "50ms", "--warmup", "20ms", "--seed", "1"]


def test_it_writes_what_the_balanced_networks_write(tmp_path, capsys):
    what_figures_need()
    assert main(["simulate", *SMALL, "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["rates_hz"]) == set(NAMES)
    assert (report["model"], report["neurons"], report["duration_s"]) == (
        "microcircuit",
        1544,
        0.05,
    )
    spikes = read_spikes(tmp_path / "out" / "spikes.h5")
    for name, train in spikes.items():
        n = round(SIZES[NAMES.index(name)] * 0.02)
        assert len(train.times_ms) == round(report["rates_hz"][name] * 0.05 * n)
    assert (tmp_path / "out" / "raster.png").stat().st_size > 10_000
    assert set(report["cv_isi"]) == set(report["correlation"]) == set(NAMES)


def test_the_table_names_the_published_rates(capsys):
    assert main(["simulate", *SMALL, "--drive", "dc"]) == 0
    table = dict(re.findall(r"^  (\S.*?)  +(.*)$", capsys.readouterr().out, re.M))
    assert table["population"].split() == list(NAMES)
    assert [float(x) for x in table["published (Hz)"].split()] == pytest.approx(RATES, abs=0.005)
    assert len(table["mean rate (Hz)"].split()) == 8


def test_the_warm_up_is_not_recorded(capsys):
    """A run of 70 ms fires as one of 50 ms after 20 ms, in its last 50 ms."""
    counts = []
    for warm, duration in (("20ms", "50ms"), ("0", "70ms"), ("0", "20ms")):
        arguments = [*SMALL[:3], "--warmup", warm, "--duration", duration, "--seed", "1", "--json"]
        assert main(["simulate", *arguments]) == 0
        report = json.loads(capsys.readouterr().out)
        counts.append(round(report["rates_hz"]["L4E"] * report["duration_s"] * 438))
    assert counts[0] == counts[1] - counts[2] > 0


def test_brunel_is_shown_beside_its_mean_field(capsys):
    arguments = ["brunel", "--order", "200", "--g", "6", "--eta", "4", "--duration", "300ms"]
    assert main(["simulate", *arguments]) == 0
    out = capsys.readouterr().out
    rates, expected = (
        float(re.search(rf"{row} \(Hz\) +([0-9.]+)", out)[1]) for row in ("mean rate", "mean field")
    )
    assert rates == pytest.approx(expected, rel=0.05)
    assert "synapses          100,000" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["coba", "--scale", "0.5"], "--scale 0.5 is an option of microcircuit"),
        (["cuba", "--drive", "dc"], "--drive dc is an option of microcircuit"),
        (["microcircuit", "--neurons", "400"], "--neurons 400 is an option of coba and cuba"),
        (["coba", "--g", "4"], "--g 4 is an option of brunel"),
        (["brunel", "--neurons", "400"], "--neurons 400 is an option of coba and cuba"),
        (["microcircuit", "--order", "100"], "--order 100 is an option of brunel"),
        (["microcircuit", "--scale", "1.1"], "from 0.001 to 1"),
        (["microcircuit", "--scale", "nan"], "--scale nan"),
        (["microcircuit", "--scale", "much"], "much"),
        (["microcircuit", "--drive", "ac"], "ac"),
        (["microcircuit", "--warmup", "-1s"], "-1s"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_an_option_that_does_not_fit_is_named(arguments, says, capsys):
    assert main(["simulate", *arguments]) == 2
    assert says in capsys.readouterr().err
