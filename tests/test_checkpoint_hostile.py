"""A file that was made to do harm, or tampered with: one error, nothing runs, nothing changes."""

from __future__ import annotations

import collections
import datetime
import json
import os
import pickle
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checkpoint_cases import Net, learner
from checkpoint_damage import Target, as_the_guide_does, saved, spoiled
from spikexla import ParamState
from spikexla.checkpoint import CheckpointError, sealed
from spikexla.checkpoint.unpickle import unpickled
from spikexla.statedict import StateDict


class Calls:
    """Pickles as a call of `function` with `arguments`, and perhaps a state for what it gives."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        made = self.function, self.arguments
        return made if self.state is None else (*made, self.state)


def _self_holding():
    held = []
    held.append(held)
    return held


def _doubled():
    x = [1.0]
    for _ in range(100):
        x = [x, x]
    return x


OBJECTS = np.dtype("O")
REBUILT = np._core.multiarray._reconstruct
HOSTILE = {  # what stands where a value should be
    "an array of addresses": Calls(set, [Calls(np.ndarray, (1,), OBJECTS, b"A" * 8)]),
    "the same, rebuilt": Calls(
        REBUILT, np.ndarray, (0,), b"b", state=(1, (1,), OBJECTS, False, b"A" * 8)
    ),
    "an array of records": Calls(
        REBUILT, np.ndarray, (0,), b"b", state=(1, (1,), "V8", False, b"")
    ),
    "more than there is": Calls(
        REBUILT, np.ndarray, (0,), b"b", state=(1, (10**12,), np.dtype("f4"), False, b"1234")
    ),
    "a negative shape": Calls(
        REBUILT, np.ndarray, (0,), b"b", state=(1, (-1, -1), np.dtype("f4"), False, b"1234")
    ),
    "a system call": Calls(os.system, "echo attacked"),
    "code": Calls(eval, "print('attacked')"),
    "an attribute of numpy": Calls(np.fromfile, "/etc/passwd"),
    "a class": os.system,
    "a large bytearray": Calls(bytearray, 10**15),
    "a state that is no dict": Calls(ParamState.__new__, ParamState),
    "itself": _self_holding(),
    "what doubles": _doubled(),
    "a type": np.ndarray,
    "a number in words": "word",
    "nothing": None,
    "a list of States": [ParamState(1.0)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_of_a_hostile_pickle_runs_and_nothing_changes(tmp_path, capfd, case):
    """In each place of a file: as a value, as all of them, beside them, in our own part of it."""
    evil, path, target = HOSTILE[case], tmp_path / "x.pkl", Target()
    good = {"W": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    for content in (
        {"params": {**good, "W": evil}},
        {"params": evil},
        evil,
        {"params": good, "beside": evil},
        {"params": good, "metadata": evil},
        {"params": good, "other": evil},
        {"params": good, "long_term": {"seen": evil}},
        {"params": good, "optimizer_state": evil},
        {"params": good, "other": {"arrays": {"x": evil}, "entries": {}, "full": False}},
    ):
        path.write_bytes(pickle.dumps(content))
        assert target.refuses(path), content
    assert "attacked" not in capfd.readouterr().out


CHANGES = {  # a whole file with a right checksum, whose content is not a checkpoint's
    "metadata is a number": lambda c: c.update(metadata=5),
    "params is a list": lambda c: c.update(params=[1]),
    "a parameter less": lambda c: c["params"].pop("W"),
    "a parameter is text": lambda c: c["params"].update(W="text"),
    "the optimiser is a number": lambda c: c.update(optimizer_state=5),
    "its memory is a list": lambda c: c["optimizer_state"]["param_groups"][0].update(memory=[]),
    "it trains nothing": lambda c: c["optimizer_state"].update(param_groups=[]),
    "its steps are text": lambda c: c["optimizer_state"].update(step_count="three"),
    "its scheduler is a number": lambda c: c["optimizer_state"].update(scheduler=5),
    "other is a number": lambda c: c.update(other=5),
    "other has no arrays": lambda c: c["other"].pop("arrays"),
    "an array less": lambda c: c["other"]["arrays"].pop("random"),
    "arrays of objects": lambda c: c["other"]["entries"]["random"].update(dtype="O"),
    "an entry is a number": lambda c: c["other"]["entries"].update({"net.W": 3}),
    "full is a number": lambda c: c["other"].update(full=1),
    "the format is text": lambda c: c.update(format="two"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_pickle_of_something_else_changes_nothing(tmp_path, case):
    path = tmp_path / "x.pkl"
    saved(path)
    content = pickle.loads(path.read_bytes())
    CHANGES[case](content)
    data = pickle.dumps(content)
    path.write_bytes(data + b"\nspikexla crc32 %08x" % zlib.crc32(data))
    target = Target()
    assert target.refuses(path)


HEADERS = {  # the same for the header of the other file
    "full is a number": lambda h, a: a.update(full=1),
    "no metadata": lambda h, a: a.pop("metadata"),
    "metadata is a number": lambda h, a: a.update(metadata=5),
    "an entry is a number": lambda h, a: a["entries"].update({"net.W": 3}),
    "objects": lambda h, a: a["entries"]["net.W"].update(dtype="O"),
    "a negative shape": lambda h, a: a["entries"]["net.W"].update(shape=[-3, -2]),
    "a large shape": lambda h, a: a["entries"]["net.W"].update(shape=[2**40, 2**40]),
    "another shape": lambda h, a: a["entries"]["net.W"].update(shape=[2, 3]),
    "another kind": lambda h, a: a["entries"]["net.W"].update(kind="key rbg"),
    "an array less": lambda h, a: h.pop("net.W"),
    "outside": lambda h, a: h["net.W"].update(data_offsets=[2**40, 2**40 + 24]),
    "backwards": lambda h, a: h["net.W"].update(data_offsets=[24, 0]),
    "in words": lambda h, a: h["net.W"].update(data_offsets="24"),
    "about is a number": lambda h, a: h["__metadata__"].update(about=5),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_of_something_else_changes_nothing(tmp_path, case):
    path = tmp_path / "x.safetensors"
    saved(path)
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    about = json.loads(header["__metadata__"]["about"])
    HEADERS[case](header, about)
    if header["__metadata__"]["about"] != 5:
        header["__metadata__"]["about"] = json.dumps(about)
    header["__metadata__"]["crc32"] = "0" * 8
    text = json.dumps(header, separators=(",", ":")).encode()
    new = struct.pack("<Q", len(text)) + text + data[start:]
    at = 8 + text.index(b"00000000")
    path.write_bytes(new[:at] + b"%08x" % zlib.crc32(new) + new[at + 8 :])
    target = Target()
    assert target.refuses(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pkl"])
def test_changed_bytes_and_cuts_are_refused(tmp_path, name):
    """A draw of what `fuzz_files.py` looks at for longer: one byte, two, and cuts."""
    path, draw = tmp_path / name, np.random.default_rng(0)
    saved(path)
    data, target = path.read_bytes(), Target()
    for k in range(150):
        what = ("one", "two", "cut")[k % 3]
        path.write_bytes(spoiled(data, draw, what))
        assert target.refuses(path), (k, what)


def test_pickles_without_a_checksum_are_data_or_an_error(tmp_path):
    """The guide's own files have none, so that a changed number cannot be seen."""
    path, draw = tmp_path / "x.pkl", np.random.default_rng(0)
    as_the_guide_does(path)
    data = path.read_bytes()
    target = Target()
    for k in range(300):
        path.write_bytes(spoiled(data, draw, ("one", "two", "cut")[k % 3]))
        try:
            sx.load_checkpoint(path, target.net)
            target = Target()
        except CheckpointError:
            assert target.is_as_before()


PLAIN = {
    "numbers": [1, -(2**70), 0.5, 1 + 2j, True, None],
    "text": ["a", b"b", bytearray(b"c")],
    "containers": {"a": (1, [2]), "b": {3}, "c": frozenset([4]), "d": range(5), "e": slice(1, 2)},
    "ordered": collections.OrderedDict(b=1, a=2),
    "dates": [
        datetime.datetime(2025, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.date(2025, 1, 2),
        datetime.time(3, 4),
        datetime.timedelta(5),
    ],
    "a StateDict": StateDict({("layers", 0, "W"): 1.0}),
    "shared": [[1]] * 3,
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("case", PLAIN)
def test_plain_values_come_back(case, protocol):
    got = unpickled(pickle.dumps(PLAIN[case], protocol))
    assert got == PLAIN[case]
    assert type(got) is type(PLAIN[case])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_come_back(protocol):
    import brainunit as u

    arrays = [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 3), np.int8),
        np.array([True, False]),
        np.float32(0.5),
        np.ones(3, jnp.bfloat16),
        np.ones(2, np.complex64),
        jnp.arange(3),
    ]
    for want in arrays:
        got = unpickled(pickle.dumps(want, protocol))
        assert (np.dtype(got.dtype), np.shape(got)) == (np.dtype(want.dtype), np.shape(want))
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
    state = unpickled(pickle.dumps(ParamState(jnp.ones(2) * (u.mV / u.ms), name="g"), protocol))
    assert (type(state), state.name, str(state.value.unit)) == (ParamState, "g", "mV / ms")
    key = unpickled(pickle.dumps(ParamState(jax.random.key(3)), protocol)).value
    assert key == jax.random.key(3)


def test_a_pickle_of_an_old_protocol_is_said_to_be_one():
    with pytest.raises(CheckpointError, match="protocol 4"):
        unpickled(pickle.dumps([1.5, "text"], 0))


def test_a_memo_far_away_takes_no_memory():
    """Of CPython's own machine, an index of 2^31 takes 32 GB."""
    data = b"\x80\x04]r\xff\xff\xff\x7f."
    assert unpickled(data) == []


def test_sealed_files_are_found_by_what_they_end_in(tmp_path):
    net, optimizer = learner()
    sx.save_checkpoint(net, optimizer, 1, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_bytes()[8:].startswith(sealed._HEAD.encode())
    (tmp_path / "y.safetensors").write_bytes(b"\x80\x04}.")
    with pytest.raises(CheckpointError, match="does not begin"):
        sx.load_checkpoint(tmp_path / "y.safetensors", Net())
