"""Spike files have the SONATA layout, come back as they were, and are whole or absent."""

from __future__ import annotations

import os

import numpy as np
import pytest
from spikexla.network.sonata import SpikeTrain, read_spikes, write_spikes

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no spike files")

TRAINS = {
    "E": (np.array([0.3, 0.1, 0.1]), np.array([2, 7, 1], np.int32)),
    "I": (np.zeros(0), np.zeros(0, np.int32)),
}


def test_spikes_come_back_sorted_by_time_then_id(tmp_path):
    write_spikes(tmp_path / "spikes.h5", TRAINS)
    back = read_spikes(tmp_path / "spikes.h5")
    assert list(back) == ["E", "I"]
    np.testing.assert_array_equal(back["E"].times_ms, [0.1, 0.1, 0.3])
    np.testing.assert_array_equal(back["E"].node_ids, [1, 7, 2])
    assert back["I"].times_ms.shape == back["I"].node_ids.shape == (0,)


def test_the_file_has_the_groups_types_and_attributes_that_sonata_asks_for(tmp_path):
    write_spikes(tmp_path / "spikes.h5", TRAINS)
    with h5py.File(tmp_path / "spikes.h5") as file:
        assert file.attrs["magic"] == 0x0A7A
        assert file.attrs["magic"].dtype == np.uint32
        assert file.attrs["version"].tolist() == [0, 1]
        group = file["spikes/E"]
        names = h5py.check_enum_dtype(group.attrs.get_id("sorting").dtype)
        assert names == {"none": 0, "by_id": 1, "by_time": 2}
        assert group.attrs["sorting"] == names["by_time"]
        assert group["timestamps"].dtype == np.float64
        assert group["timestamps"].attrs["units"] == "milliseconds"
        assert group["node_ids"].dtype == np.uint64


def test_times_in_seconds_are_read_as_ms(tmp_path):
    write_spikes(tmp_path / "spikes.h5", {"E": ([0.5], [3])})
    with h5py.File(tmp_path / "spikes.h5", "r+") as file:
        file["spikes/E/timestamps"].attrs["units"] = np.bytes_("seconds")
    assert read_spikes(tmp_path / "spikes.h5") == {"E": SpikeTrain([500.0], [3])}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (([0.1, 0.2], [1]), "one of each"),
        (([[0.1]], [[1]]), "one of each"),
        (([0.1], [-1]), "integers of 0 or more"),
        (([0.1], [0.5]), "integers of 0 or more"),
        (([np.nan], [1]), "not finite"),
    ],
)
def test_what_is_not_a_spike_train_is_refused_and_nothing_written(tmp_path, train, message):
    with pytest.raises(ValueError, match=message):
        write_spikes(tmp_path / "spikes.h5", {"E": train})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "", ".", "E\0", 1])
def test_population_names_must_not_be_paths(tmp_path, name):
    with pytest.raises(ValueError, match="must be a name"):
        write_spikes(tmp_path / "spikes.h5", {name: ([], [])})


def test_a_failure_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "spikes.h5"
    write_spikes(path, {"E": ([0.5], [3])})
    monkeypatch.setattr(h5py.Group, "create_dataset", _no_space)
    with pytest.raises(OSError, match="No space left"):
        write_spikes(path, TRAINS)
    assert list(tmp_path.iterdir()) == [path]
    assert list(read_spikes(path)) == ["E"]


def test_files_that_are_not_spike_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="not a SONATA spike file"):
        read_spikes(tmp_path / "other.h5")
    write_spikes(tmp_path / "spikes.h5", TRAINS)
    with h5py.File(tmp_path / "spikes.h5", "r+") as file:
        file["spikes/E/timestamps"].attrs["units"] = "fortnights"
    with pytest.raises(ValueError, match="'fortnights'"):
        read_spikes(tmp_path / "spikes.h5")


DAMAGED = {
    "no HDF5": lambda path: path.write_text("spikes"),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "overwritten": lambda path: path.write_bytes(_scribbled(path.read_bytes())),
    "a data set": lambda path: _edited(path, lambda file: file.create_dataset("spikes", data=1)),
    "no ids": lambda path: _edited(path, lambda file: file.create_group("spikes/E")),
    "too few ids": lambda path: _edited(path, lambda file: _train(file, [1.0, 2.0], [1])),
    "two axes": lambda path: _edited(path, lambda file: _train(file, [[1.0]], [[1]])),
    "broken ids": lambda path: _edited(path, lambda file: _train(file, [1.0], [0.5])),
    "times in words": lambda path: _edited(path, lambda file: _train(file, ["noon"], [1])),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_a_value_error_that_names_it(tmp_path, damage):
    path = tmp_path / "spikes.h5"
    write_spikes(path, TRAINS)
    DAMAGED[damage](path)
    with pytest.raises(ValueError, match=r"spikes\.h5"):
        read_spikes(path)


def test_a_full_disk_is_an_error_and_no_crash(tmp_path, monkeypatch):
    """HDF5 brings the process down when its writes fail, so it must not be the one who writes."""
    full = os.open("/dev/full", os.O_WRONLY), str(tmp_path / "none")
    monkeypatch.setattr("spikexla.disk._new_part", lambda target: full)
    with pytest.raises(OSError, match="No space left"):
        write_spikes(tmp_path / "spikes.h5", TRAINS)


def _scribbled(content):
    at = content.index(b"HEAP")  # the names of the members of a group
    return content[:at] + b"xxxx" + content[at + 4 :]


def _edited(path, edit):
    with h5py.File(path, "w") as file:
        edit(file)


def _train(file, times, ids):
    file["spikes/E/timestamps"], file["spikes/E/node_ids"] = times, ids


def _no_space(*_, **__):
    raise OSError("No space left on device")
