"""Without autapses no neuron reaches itself, whichever slices sources and targets are."""

import zlib

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import connect
from spikexla.connect import (
    AllToAll,
    Distance,
    FixedInDegree,
    FixedOutDegree,
    FixedProb,
    FixedTotal,
)

N = 14  # neurons of the population that the slices are of
X = np.linspace(0, 1, N)

# The sources [a, b) and targets [c, d): whole, parts of the whole, shifted either way, apart.
SLICES = [
    (0, 14, 0, 14),
    (0, 9, 0, 14),
    (5, 14, 0, 14),
    (0, 14, 3, 9),
    (2, 8, 5, 13),
    (7, 12, 1, 9),
]
SLICES += [(0, 5, 8, 14), (13, 14, 0, 14), (3, 4, 3, 4)]
rng = np.random.default_rng(5)
for _ in range(6):
    SLICES.append(tuple(int(x) for side in range(2) for x in np.sort(rng.choice(15, 2, False))))


def near(d):
    return 1.0 - 0.6 * d


def by_rule(rule):
    def build(n_pre, n_post, positions, multapses=True, **how):
        made = rule(*positions) if isinstance(rule, type(near)) else rule
        return connect.draw(made, n_pre, n_post, allow_multapses=multapses, **how).conn

    return build


# Each draws with seed, first_source and, where it has them, multapses; `positions` of both sides.
BUILDERS = {
    "fixed_prob": lambda a, b, at, **how: connect.fixed_prob(a, b, 0.4, **how),
    "fixed_num_post": lambda a, b, at, **how: connect.fixed_num_post(a, b, 3, **how),
    "fixed_num_post, set": lambda a, b, at, **how: connect.fixed_num_post(
        a, b, max(1, b // 2 - 1), allow_multapses=False, **how
    ),
    "fixed_num_post, long": lambda a, b, at, **how: connect.fixed_num_post(a, b, 600, **how),
    "fixed_num_pre": lambda a, b, at, **how: connect.fixed_num_pre(a, b, 3, **how),
    "fixed_num_pre, set": lambda a, b, at, **how: connect.fixed_num_pre(
        a, b, max(1, a // 2 - 1), allow_multapses=False, **how
    ),
    "fixed_total": lambda a, b, at, **how: connect.fixed_total(a, b, 2 * a, **how),
    "fixed_total, set": lambda a, b, at, **how: connect.fixed_total(
        a, b, max(1, a * (b - 1) // 2), allow_multapses=False, **how
    ),
    "distance": lambda a, b, at, **how: connect.distance(*at, near, **how),
    "all_to_all": lambda a, b, at, seed, **how: connect.all_to_all(a, b, **how),
    "FixedProb": by_rule(FixedProb(0.4)),
    "FixedOutDegree": by_rule(FixedOutDegree(3)),
    "FixedInDegree": by_rule(FixedInDegree(3)),
    "FixedTotal": by_rule(FixedTotal(40)),
    "Distance": by_rule(lambda pre, post: Distance(pre, post, near)),
    "AllToAll": by_rule(AllToAll()),
}


ONE_NEURON = {"fixed_prob", "all_to_all", "distance", "FixedProb", "AllToAll", "Distance"}


def neurons_of(conn, pre_low, post_low):
    """The pairs (source, target) as neurons of the population."""
    starts = getattr(conn, "indptr", None)
    fans = np.full(conn.n_pre, conn.fan_out) if starts is None else np.diff(np.asarray(starts))
    sources = np.repeat(np.arange(conn.n_pre), fans)
    return sources + pre_low, np.asarray(conn.indices).ravel() + post_low


@pytest.mark.parametrize("name", BUILDERS)
def test_all_pairs_but_a_neuron_with_itself_are_drawn(name):
    for a, b, c, d in SLICES:
        if min(b - a, d - c) == 1 and name not in ONE_NEURON:
            continue  # there may be nothing to draw from, which is refused below
        drawn = np.zeros((N, N), int)
        how = {"allow_autapses": False, "first_source": a - c}
        for seed in range(60):
            conn = BUILDERS[name](b - a, d - c, (X[a:b], X[c:d]), seed=seed, **how)
            np.add.at(drawn, neurons_of(conn, a, c), 1)
        wanted = np.zeros((N, N), bool)
        wanted[a:b, c:d] = True
        np.fill_diagonal(wanted, False)
        np.testing.assert_array_equal(drawn > 0, wanted, err_msg=f"{name} {(a, b, c, d)}")


# The checksums of what was drawn before there was a first_source.
BEFORE = {
    "fixed_prob": 1_755_835_627,
    "fixed_num_post": 1_924_980_253,
    "fixed_num_post, set": 3_103_360_029,
    "fixed_num_post, long": 2_683_141_622,
    "fixed_num_pre": 654_529_585,
    "fixed_num_pre, set": 3_046_235_832,
    "fixed_total": 59_220_684,
    "fixed_total, set": 1_970_411_778,
    "distance": 943_946_949,
    "all_to_all": 2_425_605_551,
    "FixedProb": 1_634_713_950,
    "FixedOutDegree": 333_138_905,
    "FixedInDegree": 654_529_585,
    "FixedTotal": 4_216_055_216,
    "Distance": 943_946_949,
    "AllToAll": 2_425_605_551,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_sources_that_begin_with_the_targets_are_drawn_as_before(name):
    crc, x = 0, np.linspace(0, 1, 700)
    for a, b in ((30, 14), (14, 30), (300, 200), (20, 700)):
        for seed in (0, 7):
            conn = BUILDERS[name](a, b, (x[:a], x[:b]), seed=seed, allow_autapses=False)
            crc = zlib.crc32(np.asarray(conn.indices).tobytes(), crc)
            if hasattr(conn, "indptr"):
                crc = zlib.crc32(np.asarray(conn.indptr).astype("<i8").tobytes(), crc)
    assert crc == BEFORE[name]


# -- networks -----------------------------------------------------------------------------------

CELLS, LOW, HIGH = 90, 35, 80
PLACES = np.linspace(0, 1, CELLS)
RULES = [
    FixedProb(0.4),
    FixedOutDegree(40),
    FixedInDegree(20),
    FixedTotal(2000),
    AllToAll(),
    Distance(PLACES[LOW:HIGH], PLACES, near),
]


class Part(sx.nn.Module):
    """Neurons of which a part excites all; those start above threshold, so all of it spikes."""

    def __init__(self, comm, low=LOW, high=HIGH, looped=False):
        super().__init__()
        V = np.where((np.arange(CELLS) >= low) & (np.arange(CELLS) < high), -40.0, -70.0)
        self.cells = sx.IafPscExp(CELLS, V_initializer=jnp.asarray(V))
        self.comm, self.low, self.high, self.looped = comm, low, high, looped
        self.to_all = sx.AlignPostProj(comm=comm, **self.cells.receptor(0.5))

    def update(self):
        self.to_all(self.cells.get_spike()[..., self.low : self.high] != 0)
        self.cells()
        return self.cells.V.value if self.looped else None


def received(comm, path, **how):
    """How many spikes have arrived at each neuron after one step."""
    sx.environ.set(dt=0.1)
    net = Part(comm, **how)
    result = sx.simulate(net, 0.1, record=())
    assert result.path == path
    return np.asarray(net.to_all.syn.g.value)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_no_neuron_hears_itself_however_synapses_are_kept(rule):
    how = {"seed": 3, "allow_autapses": False, "first_source": LOW}

    def comm(**more):
        return sx.EventDrawn(HIGH - LOW, CELLS, rule, 1.0, **how, **more)

    arrays = comm()
    sources, targets = neurons_of(arrays.conn, LOW, 0)
    assert not (sources == targets).any()
    assert (sources == targets + 1).any()
    wanted = np.bincount(targets, minlength=CELLS)
    np.testing.assert_array_equal(received(comm(), "network_run"), wanted)
    np.testing.assert_array_equal(received(comm(stored=False), "network_run"), wanted)
    if rule is RULES[0]:
        np.testing.assert_array_equal(received(arrays, "for_loop", looped=True), wanted)


COMMS = {
    "EventFixedProb": lambda a, b, **how: sx.EventFixedProb(a, b, 0.3, 1.0, **how),
    "EventFixedNumConn": lambda a, b, **how: sx.EventFixedNumConn(a, b, 5, 1.0, **how),
    "pre": lambda a, b, **how: sx.EventFixedNumConn(a, b, 5, 1.0, efferent_target="pre", **how),
    "EventFixedTotal": lambda a, b, **how: sx.EventFixedTotal(a, b, 900, 1.0, **how),
    "EventDrawn": lambda a, b, **how: sx.EventDrawn(a, b, FixedProb(0.3), 1.0, **how),
}


@pytest.mark.parametrize("kind", COMMS)
def test_a_projection_does_not_guess_who_its_sources_are(kind):
    sx.environ.set(dt=0.1)
    make, no = COMMS[kind], {"seed": 1, "allow_autapses": False}
    n = HIGH - LOW
    comm = make(n, CELLS, first_source=LOW, **no)
    sources, targets = neurons_of(comm.conn, LOW, 0)
    assert not (sources == targets).any()
    for a, flags, said in [
        (n, {}, "45 sources and 90 targets, but does not say which .* first_source=k"),
        (n, {"first_source": 46}, "first_source=46, which must be from 0 to 45"),
        (n, {"first_source": -1}, "first_source=-1, which must be from 0 to 45"),
        (CELLS + 1, {}, "91 sources and 90 targets, so its sources are another population"),
    ]:
        with pytest.raises(ValueError, match=f"AlignPostProj: comm has allow_autapses=.*{said}"):
            Part(make(a, CELLS, **no, **flags))
    # A slice of the same size, in the engine's trace and where that ends in the loop.
    for looped in (False, True):
        net = Part(comm, 10, 10 + n, looped)
        told = rf"to_all gets the spikes of neurons \[10:{10 + n}\] of cells.* first_source=10\."
        with pytest.raises(ValueError, match=told):
            sx.simulate(net, 0.1)
    for right in (make(n, CELLS, first_source=0, **no), make(n, CELLS, seed=1)):
        assert sx.simulate(Part(right, 0, n), 0.1).path == "network_run"
    assert sx.simulate(Part(make(CELLS, CELLS, **no), 0, CELLS), 0.1).path == "network_run"


WRONG = {
    "half": (lambda: connect.fixed_prob(3, 3, 0.5, seed=1, first_source=0.5), TypeError, "integer"),
    "far": (lambda: connect.distance(X, X, near, seed=1, first_source=2**31), ValueError, "reach"),
    "below": (
        lambda: connect.fixed_total(3, 3, 2, seed=1, first_source=-(2**31)),
        ValueError,
        "at least",
    ),
    "a comm": (
        lambda: sx.EventFixedProb(3, 3, 0.5, 1.0, seed=1, first_source=False),
        TypeError,
        "first_source=False",
    ),
    "alone": (
        lambda: connect.fixed_num_post(
            3, 1, 1, seed=1, allow_autapses=False, first_source=-2
        ),
        ValueError,
        "leaves source 2 no target",
    ),
    "one source": (
        lambda: connect.fixed_num_pre(1, 9, 1, seed=1, allow_autapses=False, first_source=4),
        ValueError,
        "leaves target 4 no source",
    ),
    "one target": (
        lambda: connect.fixed_total(9, 1, 1, seed=1, allow_autapses=False, first_source=-4),
        ValueError,
        "leaves source 4 no target",
    ),
    "all of them": (
        lambda: connect.draw(
            FixedOutDegree(5), 2, 5, seed=1, allow_autapses=False, allow_multapses=False,
            first_source=4,
        ),
        ValueError,
        "k=5 different targets cannot be had from 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused(what):
    make, error, said = WRONG[what]
    with pytest.raises(error, match=said):
        make()


def test_slices_apart_have_all_targets():
    apart = {"seed": 1, "allow_autapses": False, "first_source": 5, "allow_multapses": False}
    assert connect.fixed_num_post(3, 5, 5, **apart).nnz == 15
    assert connect.draw(FixedTotal(15), 3, 5, **apart).conn.nnz == 15
    one = connect.draw(connect.OneToOne(), 4, 4, seed=1, allow_autapses=False, first_source=2)
    assert one.conn.indices.tolist() == [0, 1, 2, 3]
