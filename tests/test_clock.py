"""The time of a network: runs one after the other are one run, until the network starts anew."""

from __future__ import annotations

import copy
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.network.sonata import read_spikes

R = sx.record
RECORD = {"n": [R.Spikes(), R.Trace("V", every=3)]}


class Timed(sx.nn.Module):
    """Neurons driven by what the environment says of the time, which is kept as well."""

    def __init__(self):
        super().__init__()
        self.n = sx.LIF(4, tau=5.0, V_th=0.6, spk_reset="hard")
        self.seen = sx.ShortTermState(jnp.zeros(2))

    def update(self):
        i, t = sx.environ.get("i"), sx.environ.get("t")
        self.seen.value = jnp.stack([i.astype(t.dtype), t])
        return self.n(jnp.where(t < 1.5, 40.0, 25.0) + 5.0 * (i % 7))


class Plain(sx.nn.Module):
    """Neurons that the engine runs."""

    def __init__(self):
        super().__init__()
        self.n = sx.LIF(4, tau=5.0, V_th=0.6, spk_reset="hard")

    def update(self):
        return self.n(np.array([30.0, 40.0, 50.0, 60.0]))


class Parent(sx.nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)

    def update(self):
        for part in self.parts:
            part()


def times(result):
    trace = result.traces["n", "V"]
    spikes = result.spikes["n"]
    return spikes.times_ms, spikes.ids, trace.times_ms, trace.values


def start_of(net):
    """When a run of `net` begins, by a run of one step."""
    return round(sx.simulate(net, 0.1, record=False).start_ms, 6)


@pytest.mark.parametrize("make", [Timed, Plain])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_runs_one_after_the_other_are_one_run(make, where, dt, tmp_path):
    whole, cut = make(), make()
    want = times(sx.simulate(whole, 4.0, record=RECORD))
    paths = {} if where == "memory" else {"to": tmp_path / "spikes.h5", "append": True}
    got = [sx.simulate(cut, ms, record=RECORD, **paths) for ms in (1.3, 0.1, 2.6)]
    for a, b in zip(zip(*map(times, got), strict=True), want, strict=True):
        np.testing.assert_array_equal(np.concatenate(a), b)
    assert [result.start_ms for result in got] == pytest.approx([0.0, 1.3, 1.4])
    assert len(want[0]) > 20
    for a, b in zip(cut.states().values(), whole.states().values(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    if where == "file":
        np.testing.assert_array_equal(read_spikes(paths["to"])["n"].times_ms, want[0])


def test_the_time_goes_on_where_dt_changes(dt):
    net, seen = Timed(), []
    for step, ms in ((0.1, 1.0), (0.05, 0.5), (0.3, 0.6), (0.1, 0.2)):
        with sx.environ.context(dt=step):
            result = sx.simulate(net, ms, record=R.Trace("V"))
        i, t = net.seen.value.tolist()
        seen.append((i, round(t, 5), round(result.start_ms, 6)))
        last = result.traces["n", "V"].times_ms[-1]
        assert last == pytest.approx(result.start_ms + ms)
        assert t == pytest.approx(last - step, abs=1e-5)  # t is the beginning of a step
    assert seen == [(9, 0.9, 0.0), (19, 1.45, 1.0), (21, 1.8, 1.5), (23, 2.2, 2.1)]


def test_the_step_is_counted_as_far_as_it_can_be_said(dt):
    net = Timed()
    sx.simulate(net, 0.1)
    net._clock.advance(2**31 - 12, 0.1)
    sx.simulate(net, 1.0, record=False)
    with pytest.raises(ValueError, match=r"2147483647 steps are .* 1 more .*init_all_states"):
        sx.simulate(net, 0.1)
    plain = Plain()
    sx.simulate(plain, 0.1)
    plain._clock.advance(2**40, 0.1)
    trace = sx.simulate(plain, 0.6, record=R.Trace("V", every=3)).traces["n", "V"]
    steps = np.rint(trace.times_ms / 0.1).astype(np.int64)
    assert (steps % 3 == 0).all()
    assert len(steps) == 2
    assert plain._clock.step == 2**40 + 7


# -- what sets the time ---------------------------------------------------------------------------


def _jit_made_before(net):
    """Compiled before there was a clock, and called after."""
    fresh = copy.deepcopy(net)
    init = sx.transform.jit(lambda: sx.nn.init_all_states(fresh) and None)
    init()
    sx.simulate(fresh, 1.0)
    init()
    return fresh


def _jit_again(net):
    init = sx.transform.jit(lambda: sx.nn.init_all_states(net) and None)
    for _ in range(2):
        init()
        sx.simulate(net, 1.0)
    init()


def _in_a_loop(net):
    sx.transform.for_loop(lambda i: sx.nn.init_all_states(net) and i, jnp.arange(3))


def _in_vmap(net):
    sx.transform.vmap(lambda i: sx.nn.init_all_states(net) and i)(jnp.arange(3))


def _if(chosen):
    def act(net):
        def init():
            sx.nn.init_all_states(net)

        sx.transform.jit(lambda p: sx.transform.cond(p, init, lambda: None))(chosen)

    return act


def _fails(how):
    def act(net):
        with pytest.raises((RuntimeError, ValueError)):
            how(net)

    return act


def _progress(net):
    def stop(done, steps):
        if done == 20:
            raise RuntimeError

    sx.simulate(net, 3.0, chunk=1.0, progress=stop)


class _Refuses(sx.network.Sink):
    chunks = 0

    def append(self, trains, until_ms):
        self.chunks += 1
        if self.chunks == 3:
            raise RuntimeError


def _nan(net):
    V = net.n.V.value
    try:
        net.n.V.value = V * np.nan
        sx.simulate(net, 1.0)
    finally:
        net.n.V.value = V


SET = {  # what happens to a network that was simulated for 1 ms; what its time is then
    "nothing": (lambda net: None, 1.0),
    "init": (sx.nn.init_all_states, 0.0),
    "init of a batch": (lambda net: sx.nn.init_all_states(net, batch_size=2), 0.0),
    "reset": (sx.nn.reset_all_states, 0.0),
    "init of a part": (lambda net: sx.nn.init_all_states(net.n) and None, 1.0),
    "init of all but this": (lambda net: sx.nn.init_all_states(net, exclude=Plain) and None, 1.0),
    "a jit older than the clock": (_jit_made_before, 0.0),
    "a jit called again": (_jit_again, 0.0),
    "a loop": (_in_a_loop, 0.0),
    "vmap": (_in_vmap, 0.0),
    "a branch": (_if(True), 0.0),
    "the other branch": (_if(False), 1.0),
    "a deep copy": (copy.deepcopy, 1.0),
    "a copy": (copy.copy, 1.0),
    "pickle": (lambda net: pickle.loads(pickle.dumps(net)), 1.0),
    "an error in progress": (_fails(_progress), 3.0),
    "an error of a sink": (_fails(lambda n: sx.simulate(n, 9.0, chunk=1.0, to=_Refuses())), 3.0),
    "NaN": (_fails(_nan), 1.0),
    "a wrong call": (_fails(lambda net: sx.simulate(net, -1.0)), 1.0),
    "a step by hand": (lambda net: net() is None, 1.0),
    "a parent": (lambda net: Parent(net), 1.0),
    "a parent that ran": (lambda net: sx.simulate(Parent(net), 2.0) and None, 3.0),
    "the furthest part": (lambda net: Parent(Plain(), net), 1.0),
}


@pytest.mark.parametrize("case", SET)
def test_the_time_is_that_of_the_states(case, dt):
    act, want = SET[case]
    net = Plain()
    sx.simulate(net, 1.0)
    made = act(net)
    after = made if isinstance(made, sx.nn.Module) else net
    assert start_of(after) == want


def test_a_copy_goes_its_own_way(dt):
    net = Plain()
    sx.simulate(net, 1.0)
    twin = copy.deepcopy(net)
    sx.simulate(net, 1.0)
    assert (start_of(net), start_of(twin)) == (2.0, 1.0)


@pytest.mark.parametrize("full", [True, False])
def test_a_full_checkpoint_has_the_time(full, path, dt):
    net, fresh = Plain(), Plain()
    sx.simulate(net, 1.0)
    sx.checkpoint.save_checkpoint(net, None, 0, path, full=full)
    sx.simulate(net, 1.0)
    for made in (net, fresh):
        sx.checkpoint.load_checkpoint(path, made)
    assert (start_of(net), start_of(fresh)) == ((1.0, 1.0) if full else (2.0, 0.0))


def test_a_full_checkpoint_from_before_the_clock_is_read(dt, tmp_path, monkeypatch):
    net, fresh, path = Plain(), Plain(), tmp_path / "run.pkl"
    sx.simulate(net, 1.0)
    chosen = sx.checkpoint.pickled.chosen
    without = lambda *a: {k: v for k, v in chosen(*a).items() if k != "clock"}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(sx.checkpoint.pickled, "chosen", without)
        sx.checkpoint.save_checkpoint(net, None, 0, path, full=True)
    sx.checkpoint.load_checkpoint(path, fresh)
    np.testing.assert_array_equal(fresh.n.V.value, net.n.V.value)
    assert start_of(fresh) == 0.0


def test_states_are_the_same_with_and_without_a_time(dt):
    net = Plain()
    before, shown = list(net.states()), repr(net)
    sx.simulate(net, 1.0)
    assert list(net.states()) == before
    assert repr(net) == shown


# -- files ----------------------------------------------------------------------------------------

FILES = {  # ms simulated without a file before the second run; its first time in the file
    "at its end": (0.0, False, 1.0),
    "later": (0.5, False, 1.5),
    "a new start": (0.0, True, 1.0),
    "a new start that is behind": (0.3, True, 1.0),
}


@pytest.mark.parametrize("case", FILES)
def test_times_in_a_file_never_go_back(case, dt, tmp_path):
    between, anew, first = FILES[case]
    net, path = Plain(), tmp_path / "spikes.h5"
    sx.simulate(net, 1.0, to=path)
    if anew:
        sx.nn.init_all_states(net)
    if between:
        sx.simulate(net, between)
    before = read_spikes(path)["n"].times_ms
    result = sx.simulate(net, 1.0, to=path, append=True, record=[R.Spikes(), R.Rates(0.5)])
    assert result.start_ms == pytest.approx(first)
    spikes = result.spikes["n"]
    every = read_spikes(path)["n"].times_ms
    assert (np.diff(every) >= 0).all()
    np.testing.assert_array_equal(every, np.concatenate([before, spikes.times_ms]))
    assert (spikes.steps >= 0).all()
    assert spikes.steps.max() < 10
    assert result.rates["n"].times_ms == pytest.approx([first, first + 0.5])


def test_a_population_by_itself_has_the_name_of_its_class_in_a_file(dt, tmp_path):
    path = tmp_path / "spikes.h5"
    neurons = sx.LIF(3)
    for append in (False, True):
        result = sx.simulate(neurons, 0.3, inputs=(1e4,), to=path, append=append)
        assert len(result.spikes[""]) == 9
    assert len(read_spikes(path)["LIF"].times_ms) == 18
