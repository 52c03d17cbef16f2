"""Files of checkpoints: their layout, every version of them, how they replace what was there."""

from __future__ import annotations

import errno
import gc
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checkpoint_cases import Changed, Net, learner
from spikexla import LongTermState, ParamState, disk
from spikexla.checkpoint import CheckpointError, Manager, pickled, sealed

DATA = Path(__file__).parent / "data"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes and few links")

# -- every version --------------------------------------------------------------------------------

KEPT_W = [[-2.215005, -1.8028644], [0.46073803, -0.10820699], [-0.53267986, -0.951686]]


def _as_it_was_kept():
    import brainunit as u

    net, optimizer = learner()
    net.tau = LongTermState(jnp.zeros(2) * u.ms)
    net.half = LongTermState(jnp.zeros(2, jnp.bfloat16))
    net.key = LongTermState(jax.random.key(0))
    return net, optimizer


@pytest.mark.parametrize(
    "name",
    ["checkpoint_0.1.pkl", "checkpoint_0.1.zip", "checkpoint_2.pkl", "checkpoint_2.safetensors"],
)
def test_files_of_every_version_are_read(tmp_path, name):
    path = DATA / name
    if path.suffix == ".zip":  # the folder of a Manager
        zipfile.ZipFile(path).extractall(tmp_path / "run")
        path = tmp_path / "run"
    net, optimizer = _as_it_was_kept()
    about = sx.load_checkpoint(path, net, optimizer)
    assert (about["epoch"], about["best"]) == (3, 0.5)
    np.testing.assert_allclose(net.W.value, KEPT_W, rtol=1e-6)
    np.testing.assert_allclose(net.V.value, [-1.1158882, -2.2205925], rtol=1e-6)
    assert (int(net.seen.value), int(optimizer.step_count.value)) == (3, 3)
    assert (net.tau.value.mantissa.tolist(), str(net.tau.value.unit)) == ([3.0, 3.0], "ms")
    assert (net.half.value.dtype, net.half.value.tolist()) == (jnp.bfloat16, [1.0, 1.0])
    assert net.key.value == jax.random.key(3)
    assert sx.random.DEFAULT.value.tolist() == [3362813952, 1555611411]


@pytest.mark.parametrize("module", [pickled, sealed], ids=["pickle", "safetensors"])
def test_a_file_of_a_later_version_is_named(tmp_path, monkeypatch, module):
    path = tmp_path / ("run.pkl" if module is pickled else "run.safetensors")
    monkeypatch.setattr(module, "FORMAT", 3)
    sx.save_checkpoint(Net(), None, 0, path)
    monkeypatch.setattr(module, "FORMAT", 2)
    with pytest.raises(CheckpointError, match=r"format 3.* knows those up to 2: update it"):
        sx.load_checkpoint(path, Net())


# -- the layout -----------------------------------------------------------------------------------


def test_the_file_has_the_layout_of_safetensors(tmp_path):
    """Read here by its specification, in which nothing can run."""
    net = Changed(
        a=ParamState(jnp.arange(6.0).reshape(2, 3)),
        b=LongTermState(jnp.ones(3, jnp.bfloat16)),
        c=LongTermState(jnp.zeros((0, 2), jnp.int8)),
        d=LongTermState(jnp.ones(2, jnp.complex64)),
    )
    path = tmp_path / "run.safetensors"
    sx.save_checkpoint(net, None, 1, path, metadata={"note": 'with "quotes" and ü'})
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    about = json.loads(header.pop("__metadata__")["about"])
    assert about["metadata"] == {"note": 'with "quotes" and ü', "epoch": 1}
    kinds = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
    assert kinds == {
        "net.a": ("F32", [2, 3]),
        "net.b": ("BF16", [3]),
        "net.c": ("I8", [0, 2]),
        "net.d": ("U8", [16]),  # which safetensors has no name for
        "random": ("U32", [2]),
    }
    ends = sorted(entry["data_offsets"] for entry in header.values())
    assert [0, *(end for _, end in ends)] == [*(first for first, _ in ends), len(data) - start]
    first, last = header["net.a"]["data_offsets"]
    np.testing.assert_array_equal(
        np.frombuffer(data[start + first : start + last], "<f4").reshape(2, 3), net.a.value
    )


# -- replacing what is there ----------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["run.pkl", "run.safetensors"])
def test_a_file_keeps_its_mode_and_a_new_one_obeys_the_umask(tmp_path, name):
    path = tmp_path / name
    before = os.umask(0o027)
    try:
        sx.save_checkpoint(Net(), None, 0, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    for mode in (0o644, 0o600, 0o664):
        path.chmod(mode)
        sx.save_checkpoint(Net(), None, 0, path)
        assert path.stat().st_mode & 0o777 == mode


@posix
@pytest.mark.parametrize("there", ["a file", "nothing", "no folder"])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, there):
    target, link = tmp_path / "far" / "real.pkl", tmp_path / "link.pkl"
    if there != "no folder":
        target.parent.mkdir()
    if there == "a file":
        target.write_bytes(b"old")
    link.symlink_to(target)
    sx.save_checkpoint(Net(), None, 4, link)
    assert link.is_symlink()
    assert sx.load_checkpoint(target, Net()) == {"epoch": 4}
    assert [p.name for p in target.parent.iterdir()] == ["real.pkl"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["write", "sync", "os.replace", "sync_folder"])
def test_an_interrupt_anywhere_leaves_one_whole_file(tmp_path, monkeypatch, name, when):
    path = tmp_path / "run.pkl"
    sx.save_checkpoint(Net(), None, 1, path)
    where, name = (os, "replace") if name == "os.replace" else (disk, name)
    does = getattr(where, name)

    def interrupted(*args):
        if when == "after":
            does(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            sx.save_checkpoint(Net(), None, 2, path)
    is_new = name == "sync_folder" or (name == "replace" and when == "after")
    assert sx.load_checkpoint(path, Net()) == {"epoch": 2 if is_new else 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_saves_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    path = tmp_path / "run.pkl"
    left, other = tmp_path / ".run.pkl.abc.part", tmp_path / ".other.pkl.abc.part"
    left.write_bytes(b"x")
    other.write_bytes(b"x")
    handle, writing = disk._new_part(os.path.realpath(path))
    sx.save_checkpoint(Net(), None, 1, path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other, Path(writing)])
    os.close(handle)
    sx.save_checkpoint(Net(), None, 2, path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


@posix
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "run.pkl")
    with pytest.raises(OSError, match="no file"):
        sx.save_checkpoint(Net(), None, 1, tmp_path / "run.pkl")
    assert (tmp_path / "run.pkl").is_fifo()


@pytest.mark.parametrize("name", ["run.pkl", "run.safetensors"])
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, name):
    sx.save_checkpoint(Net(), None, 1, tmp_path / name)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(OSError, match="No space"):
            sx.save_checkpoint(Net(), None, 2, tmp_path / name)
    assert sx.load_checkpoint(tmp_path / name, Net()) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == [name]


# -- folders --------------------------------------------------------------------------------------

FULL = """
import resource, sys
import jax.numpy as jnp, numpy as np, spikexla as sx
class Net(sx.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = sx.ParamState(jnp.asarray(np.random.default_rng(0).random(200_000)))
for background in (False, True):
    with sx.checkpoint.Manager(f"{sys.argv[1]}/{background}", Net(), background=background) as m:
        m.save(0)
        m.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            m.save(1)
            m.wait()
        except OSError as error:
            assert "File too large" in str(error) and m.directory.name in str(error), error
            print("an OSError")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert sorted(p.name for p in m.directory.iterdir()) == [".lock", "0"]
        m.save(2)
        assert m.restore().step == 2
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_in_a_folder_is_an_oserror(tmp_path):
    """The limit of the system stands for a full disk."""
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["an OSError"] * 2, done.stderr


def test_one_manager_writes_to_a_folder(tmp_path):
    net = Net()
    first = Manager(tmp_path, net)
    first.save(1)
    with pytest.raises(BlockingIOError, match="another Manager writes to this folder"):
        Manager(tmp_path, net)
    with pytest.raises(BlockingIOError):
        sx.save_checkpoint(net, None, 2, tmp_path)
    before = net.W.value
    with Manager(tmp_path, net, read_only=True) as reader:
        assert reader.restore().step == 1
    np.testing.assert_array_equal(net.W.value, before)
    first.close()
    with Manager(tmp_path, net) as second:
        second.save(2)
        assert second.steps == [1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_a_manager_that_nobody_holds_gives_the_folder_back(tmp_path):
    Manager(tmp_path, Net()).save(1)
    gc.collect()
    with Manager(tmp_path, Net()) as manager:
        assert manager.steps == [1]
