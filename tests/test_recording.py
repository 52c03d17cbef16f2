"""What simulate records: chosen parts, in memory or in a file, and nothing lost at an early end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import spikexla as sx
from spikexla import disk
from spikexla.network import recorder, spikefile
from spikexla.network.sonata import read_spikes

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no spike files")
MS = 30.0
R = sx.record


@pytest.fixture(autouse=True)
def interruptible():
    """Python's own handler of Ctrl-C: a shell's background job is started without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def net(n=200):
    return sx.COBANet(n, seed=3)


def values(module):
    return [
        np.asarray(leaf)
        for state in module.states().values()
        for leaf in jax.tree.leaves(state.value)
    ]


def same_bits(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(values(a), values(b), strict=True))


def lists(spikes):
    return spikes.steps.tolist(), spikes.ids.tolist()


# -- what is recorded -----------------------------------------------------------------------------

WANTED = {  # record: the names in spikes, rates, traces; the path
    "all": (True, ["N"], [], [], "network_run"),
    "nothing": (False, [], [], [], "network_run"),
    "no item": ([], [], [], [], "network_run"),
    "a kind": (R.Rates(bin=2.5), [], ["N"], [], "network_run"),
    "kinds": ([R.Spikes(), R.Rates()], ["N"], ["N"], [], "network_run"),
    "by name": ({"N": True}, ["N"], [], [], "network_run"),
    "of a synapse": ({"E.syn": R.Trace("g", [3])}, [], [], [("E.syn", "g")], "network_run"),
    "a weight": ({"E.comm": R.Trace("weight")}, [], [], [("E.comm", "weight")], "for_loop"),
    "all kinds": (
        {"N": (R.Spikes(), R.Rates(), R.Trace("V", every=7))},
        ["N"],
        ["N"],
        [("N", "V")],
        "network_run",
    ),
}


@pytest.mark.parametrize("case", WANTED)
def test_what_is_named_is_recorded_and_changes_no_spike(case, dt):
    record, spikes, rates, traces, path = WANTED[case]
    result = sx.simulate(net(), MS, record=record)
    assert [*result.spikes] == spikes
    assert [*result.rates] == rates
    assert [*result.traces] == traces
    assert [*result.rates_hz] == (spikes or rates)
    assert result.path == path, result.why
    assert (path == "network_run") or "its State 'weight' traced" in result.why
    if spikes:
        backend = "native" if path == "network_run" else "xla"
        want = sx.simulate(net(), 5.0, backend=backend).spikes["N"]
        assert len(want) > 5
        early = result.spikes["N"].steps < 50
        assert result.spikes["N"].ids[early].tolist() == want.ids.tolist()


@pytest.mark.parametrize("chunk", [0.1, 0.7, 1e4])
@pytest.mark.parametrize("backend", ["native", "xla"])
def test_rates_are_those_of_the_spikes(chunk, backend, dt):
    record = [R.Spikes(), R.Rates(bin=0.8)]
    result = sx.simulate(net(), 5.0, record=record, chunk=chunk, backend=backend)
    rates, spikes = result.rates["N"], result.spikes["N"]
    edges = [0, 8, 16, 24, 32, 40, 48, 50]  # steps; the last bin is cut short
    counts, _ = np.histogram(spikes.steps, np.array(edges) - 0.5)
    assert len(spikes) > 5
    np.testing.assert_allclose(rates.hz, counts / 200 / (np.diff(edges) * 1e-4))
    np.testing.assert_allclose(rates.times_ms, np.array(edges[:-1]) * 0.1)
    np.testing.assert_allclose(result.rates_hz["N"], len(spikes) / 200 / 5e-3)


@pytest.mark.parametrize("chunk", [0.1, 0.4, 1e4])
def test_a_trace_is_the_state_after_every_so_many_steps(chunk, dt):
    by_hand, chosen = net(), [5, 0, 199]
    want = []
    for step in range(20):
        by_hand()
        if step % 3 == 2:
            want.append(np.asarray(by_hand.N.V.value)[chosen])
    trace = R.Trace("V", neurons=chosen, every=3)
    got = sx.simulate(net(), 2.0, record=trace, chunk=chunk).traces["N", "V"]
    np.testing.assert_allclose(got.values, want, rtol=1e-5)
    np.testing.assert_allclose(got.times_ms, np.arange(3, 20, 3) * 0.1)
    assert got.neurons.tolist() == chosen


WRONG = {
    "a name": ({"M": True}, ValueError, "'N'"),
    "spikes of a synapse": ({"E.syn": R.Spikes()}, ValueError, "no population"),
    "a word": ("V", TypeError, "record='V' must be"),
    "a class": (R.Spikes, TypeError, "record.Spikes()"),
    "a State": (R.Trace("U"), ValueError, "it has V"),
    "a neuron": (R.Trace("V", [200]), ValueError, "0 to 199"),
    "half a neuron": (R.Trace("V", [0.5]), ValueError, "whole numbers"),
    "no neuron": (R.Trace("V", []), ValueError, "whole numbers"),
    "every none": (R.Trace("V", every=0), ValueError, "every=0"),
    "every age": (R.Trace("V", every=2**31), ValueError, "2^31 - 1"),
    "every half": (R.Trace("V", every=0.5), ValueError, "every=0.5"),
    "two traces": ([R.Trace(), R.Trace()], ValueError, "two traces"),
    "two rates": ([R.Rates(), R.Rates(2.0)], ValueError, "two Rates"),
    "a third of a bin": (R.Rates(bin=0.25), ValueError, "multiple of dt"),
    "no bin": (R.Rates(bin=0), ValueError, "multiple of dt"),
    "a bin in words": (R.Rates(bin="long"), TypeError, "time in ms"),
    "bin NaN": (R.Rates(bin=np.nan), ValueError, "multiple of dt"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_recorded_is_named_and_changes_no_state(case, dt):
    record, error, message = WRONG[case]
    made, same = net(), net()
    with pytest.raises(error) as raised:
        sx.simulate(made, 1.0, record=record)
    assert message in str(raised.value)
    assert same_bits(made, same)


# -- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0.7, 5.0, 1e4])
@pytest.mark.parametrize("backend", ["native", "xla"])
def test_the_file_has_the_spikes_that_memory_would_have(chunk, backend, dt, tmp_path):
    path = tmp_path / "spikes.h5"
    want = sx.simulate(net(), 5.0, backend=backend)
    got = sx.simulate(net(), 5.0, backend=backend, to=path, chunk=chunk)
    assert lists(got.spikes["N"]) == lists(want.spikes["N"])
    assert got.rates_hz == want.rates_hz
    train = read_spikes(path)["N"]
    np.testing.assert_array_equal(train.times_ms, want.spikes["N"].times_ms)
    with h5py.File(path) as file:
        assert file["spikes/N"].attrs["sorting"] == 2
        assert file["spikes/N/timestamps"].attrs["units"] == "milliseconds"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_goes_on_where_it_ended(dt, tmp_path):
    path, made = tmp_path / "spikes.h5", net()
    want = sx.simulate(net(), MS).spikes["N"]
    first = sx.simulate(made, 10.0, to=path)
    second = sx.simulate(made, 20.0, to=path, append=True)
    np.testing.assert_array_equal(read_spikes(path)["N"].times_ms, want.times_ms)
    np.testing.assert_array_equal(read_spikes(path)["N"].node_ids, want.ids)
    parts = [first.spikes["N"], second.spikes["N"]]
    assert [len(part) for part in parts] == [(want.steps < 100).sum(), (want.steps >= 100).sum()]
    np.testing.assert_array_equal(parts[1].steps, want.steps[want.steps >= 100] - 100)


def _foreign(path):
    path.write_text("notes of a year")


def _other_population(path):
    sx.simulate(Single(), 1.0, to=path)


def _half_a_step(path):
    with sx.environ.context(dt=0.25):
        sx.simulate(net(), 1.25, to=path)


class Single(sx.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neuron = sx.LIF(3)

    def update(self):
        return self.neuron(1.0)


THERE = {  # what is there before, append, the error
    "a recording": (lambda path: sx.simulate(net(), 1.0, to=path), False, "append=True"),
    "notes": (_foreign, True, "no spike file"),
    "other names": (_other_population, True, "the populations ['N']"),
    "another size": (lambda path: sx.simulate(net(n=100), 1.0, to=path), True, "'N': 100}"),
    "another step": (_half_a_step, True, "whole number of steps"),
    "a folder": (lambda path: path.mkdir(), True, "directory"),
}


@pytest.mark.parametrize("case", THERE)
def test_a_file_that_is_there_is_never_spoiled(case, dt, tmp_path):
    make, append, message = THERE[case]
    path, made, same = tmp_path / "spikes.h5", net(), net()
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises((OSError, ValueError)) as raised:
        sx.simulate(made, 1.0, to=path, append=append)
    assert message in str(raised.value)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert same_bits(made, same)


def test_a_place_that_is_not_there_is_said_at_once(dt, tmp_path):
    with pytest.raises(FileNotFoundError):
        sx.simulate(net(), 1.0, to=tmp_path / "none" / "spikes.h5")
    with pytest.raises(ValueError, match="has none"):
        sx.simulate(net(), 1.0, to=tmp_path / "spikes.h5", record=False)
    made = net()
    sx.nn.init_all_states(made, batch_size=2)
    with pytest.raises(ValueError, match="batch axis"):
        sx.simulate(made, 1.0, to=tmp_path / "spikes.h5")
    assert list(tmp_path.iterdir()) == []


class Busy(sx.nn.Module):
    """2000 neurons that spike in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = sx.LIF(2000, spk_reset="hard")

    def update(self):
        return self.neuron(1e4)


def test_a_long_recording_takes_disk_and_no_memory(dt, tmp_path, monkeypatch):
    """Each chunk of 10 steps is 20000 spikes, 16 bytes each; nothing of it stays in the process."""
    sizes, kept, path = [], [], tmp_path / "spikes.h5"
    held = []
    made = recorder.Recorder.__init__
    monkeypatch.setattr(
        recorder.Recorder, "__init__", lambda self, *args: (held.append(self), made(self, *args))[1]
    )

    def look(done, steps):
        sizes.append(os.stat(path).st_size)
        assert len(read_spikes(path)["neuron"].node_ids) == done * 2000  # whole while it grows
        state = held[0]._kept
        kept.append(sum(a.nbytes for c in state.spikes for both in c.values() for a in both))

    result = sx.simulate(Busy(), 10.0, to=path, chunk=1.0, progress=look)
    assert result.rates_hz["neuron"] == 1e4
    assert kept == [0] * 10
    growth = np.diff(sizes)
    assert growth.sum() == pytest.approx(9 * 320_000, abs=300_000)
    assert growth.max() < 320_000 + 3 * 8 * spikefile.CHUNK
    assert len(result.spikes["neuron"]) == 200_000


# -- an early end ---------------------------------------------------------------------------------


def _stop(done, steps):
    if done == 100:
        raise KeyboardInterrupt


def _ctrl_c(done, steps):
    if done == 100:
        signal.raise_signal(signal.SIGINT)


def _fail(done, steps):
    if done == 100:
        raise RuntimeError("no more")


EARLY = {
    "a callback that stops": (_stop, KeyboardInterrupt),
    "Ctrl-C": (_ctrl_c, KeyboardInterrupt),
    "a callback that fails": (_fail, RuntimeError),
}


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("case", EARLY)
def test_an_early_end_loses_nothing_and_can_be_gone_on_from(case, where, dt, tmp_path):
    stop, error = EARLY[case]
    made, whole, path = net(), net(), tmp_path / "spikes.h5"
    to = path if where == "file" else None
    with pytest.raises(error) as raised:
        sx.simulate(made, MS, chunk=5.0, progress=stop, to=to, record=[R.Spikes(), R.Rates()])
    part = raised.value.result
    assert "100 of 300 steps" in raised.value.__notes__[0]
    assert (part.steps, len(part.rates["N"].hz)) == (100, 10)
    rest = sx.simulate(made, 20.0, to=to, append=to is not None)
    want = sx.simulate(whole, MS).spikes["N"]
    ids = np.concatenate([part.spikes["N"].ids, rest.spikes["N"].ids])
    np.testing.assert_array_equal(ids, want.ids)
    assert same_bits(made, whole)
    if where == "file":
        np.testing.assert_array_equal(read_spikes(path)["N"].times_ms, want.times_ms)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_in_a_chunk_waits_for_its_end_and_a_second_one_does_not(dt, monkeypatch):
    made, want, times = net(), net(), [0]
    take = recorder.Recorder.take

    def interrupted(self, *args):
        for _ in range(times[0]):
            signal.raise_signal(signal.SIGINT)
        return take(self, *args)

    monkeypatch.setattr(recorder.Recorder, "take", interrupted)
    for presses, steps in ((1, 50), (2, 0)):
        times[0] = presses
        with pytest.raises(KeyboardInterrupt) as raised:
            sx.simulate(made, MS, chunk=5.0)
        assert raised.value.result.steps == steps
        times[0] = 0
        if presses == 1:
            sx.simulate(want, 5.0)
        assert same_bits(made, want)


def test_a_full_disk_leaves_state_and_file_at_the_last_finished_chunk(dt, tmp_path, monkeypatch):
    made, whole, path = net(), net(), tmp_path / "spikes.h5"
    written, chunks = disk.write, []

    def full(handle, data, at):
        if len(chunks) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(handle, data, at)

    monkeypatch.setattr(disk, "write", full)
    with pytest.raises(OSError, match="No space") as raised:
        sx.simulate(made, MS, chunk=5.0, to=path, progress=lambda done, all_: chunks.append(done))
    assert raised.value.result.steps == 100
    assert "no room for" in str(raised.value)
    chunks.clear()
    sx.simulate(whole, 10.0)
    assert same_bits(made, whole)
    sx.simulate(made, 20.0, to=path, append=True)
    want = sx.simulate(net(), MS).spikes["N"]
    np.testing.assert_array_equal(read_spikes(path)["N"].times_ms, want.times_ms)
    np.testing.assert_array_equal(read_spikes(path)["N"].node_ids, want.ids)


LIMITED = """
import resource, sys
import numpy as np
from spikexla.network.spikefile import SpikeFile
from spikexla.network.sonata import read_spikes
path, ids = sys.argv[1], np.arange(50_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, resource.RLIM_INFINITY))
done = 0
try:
    with SpikeFile(path, {"E": 50_000}) as file:
        for k in range(100):
            file.append({"E": (np.full(50_000, float(k)), ids)}, k + 1.0)
            done += 1
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
with SpikeFile(path, {"E": 50_000}, append=True) as file:
    assert file.start_ms == done > 2, (file.start_ms, done)
    file.append({"E": (np.full(50_000, float(done)), ids)}, done + 1.0)
assert len(read_spikes(path)["E"].times_ms) == (done + 1) * 50_000
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_hdf5_survives_a_file_that_cannot_grow(tmp_path):
    """The limit of the system stands for a full disk: the writes themselves would fail."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "spikes.h5")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no room for" in done.stdout
    assert "append=True" in done.stdout


def test_an_append_that_fails_half_way_adds_nothing(tmp_path):
    path = tmp_path / "spikes.h5"
    with spikefile.SpikeFile(path, {"A": 9, "B": 9}) as file:
        file.append({"A": ([1.0], [1]), "B": ([1.0], [2])}, 5.0)
        with pytest.raises(ValueError, match="word"):
            file.append({"A": ([6.0], [1]), "B": ([6.0], ["word"])}, 10.0)
    back = read_spikes(path)
    assert [train.times_ms.tolist() for train in back.values()] == [[1.0], [1.0]]
    with spikefile.SpikeFile(path, {"A": 9, "B": 9}, append=True) as file:
        assert file.start_ms == 5.0


# -- neo ------------------------------------------------------------------------------------------


def test_neo_gets_trains_traces_and_rates(dt):
    pytest.importorskip("neo", reason="neo is not installed: no export")
    record = {"N": [R.Spikes(), R.Rates(bin=1.0), R.Trace("V", [4, 7], every=5)]}
    result = sx.simulate(net(), 5.0, record=record)
    block = result.to_neo()
    (segment,) = block.segments
    spikes = result.spikes["N"]
    assert len(segment.spiketrains) == 200
    for k, train in enumerate(segment.spiketrains):
        np.testing.assert_allclose(train.rescale("ms").magnitude, spikes.times_ms[spikes.ids == k])
        assert (train.annotations["population"], train.annotations["id"]) == ("N", k)
    trace, rates = segment.analogsignals
    np.testing.assert_array_equal(trace.magnitude, result.traces["N", "V"].values)
    np.testing.assert_allclose(trace.times.rescale("ms").magnitude, np.arange(1, 11) * 0.5)
    np.testing.assert_array_equal(rates.magnitude[:, 0], result.rates["N"].hz)
    assert [group.name for group in block.groups] == ["N"]


# -- progress -------------------------------------------------------------------------------------


def test_progress_is_a_bar_a_function_or_nothing(dt, capsys):
    pytest.importorskip("rich", reason="rich is not installed: no bar")
    seen = []
    sx.simulate(net(), 1.0, chunk=0.4, progress=lambda *news: seen.append(news))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    sx.simulate(net(), 1.0, chunk=0.4, progress=True)
    assert capsys.readouterr().out == ""
    with pytest.raises(TypeError, match="progress=3"):
        sx.simulate(net(), 1.0, progress=3)
