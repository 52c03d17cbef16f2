"""A spoiled checkpoint or spike file is this package's error, and no State changes."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import spikexla as sx
from checkpoint_damage import Target, as_the_guide_does, saved, spoiled
from spikefile_cases import SIZES, append
from spikexla.checkpoint.snapshot import CheckpointError
from spikexla.checkpoint.unpickle import unpickled
from spikexla.network.sonata import read_spikes, write_spikes
from spikexla.network.spikefile import SpikeFile

EACH = 20  # damages in a case


@functools.cache
def _files():
    """The bytes of a file of each kind."""
    sx.environ.set(dt=0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        found = {}
        for name in ("run.safetensors", "run.pkl"):
            saved(path.with_name(name))
            found[name] = path.with_name(name).read_bytes()
        as_the_guide_does(path)
        found["guide.pkl"] = path.read_bytes()
        path.unlink()
        with SpikeFile(path, SIZES) as file:
            append(file, 0, 30)
        found["appended.h5"] = path.read_bytes()
        write_spikes(path, {"E": ([1.0, 2.0], [3, 1]), "I": ([0.5], [0])})
        found["written.h5"] = path.read_bytes()
    return found


@functools.cache
def _target():
    return Target()


def case(rng):
    files = _files()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(EACH):
            name = str(rng.choice(list(files)))
            what = str(rng.choice(["one", "two", "cut"]))
            path = Path(folder) / name
            content = spoiled(files[name], rng, what)
            path.write_bytes(content)
            drawn = f"{name}: {what}"
            try:
                _holds(path, name, what, files[name])
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"spoiled-{name}"
                kept.write_bytes(content)
                raise AssertionError(f"{drawn}, kept as {kept}") from error


def _holds(path, name, what, good):
    if name == "guide.pkl":  # it has no checksum, so that changed numbers cannot be seen
        _is_data(path.read_bytes())
    elif name.endswith(".h5"):
        _spikes(path, good)
    else:
        assert _target().refuses(path), "it was loaded"


def _is_data(content):
    """Whatever is in a pickle: data or a Python exception."""
    try:
        unpickled(content)
    except CheckpointError:
        pass
    except Exception as error:
        assert not isinstance(error, SystemError)  # noqa: PT017


def _spikes(path, good):
    spoiled_, want = path.read_bytes(), None
    try:
        got = read_spikes(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    path.write_bytes(good)
    want = read_spikes(path)
    path.write_bytes(spoiled_)
    assert got.keys() == want.keys()
    for population in want:
        np.testing.assert_array_equal(got[population].times_ms, want[population].times_ms)
        np.testing.assert_array_equal(got[population].node_ids, want[population].node_ids)
