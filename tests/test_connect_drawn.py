"""Rules of drawn connectivity: counts, ranges, laws, and that nothing but the arguments matters."""

import math
import os
import pickle
import statistics
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.connect import (
    AllToAll,
    Distance,
    FixedInDegree,
    FixedOutDegree,
    FixedProb,
    FixedTotal,
    LogNormal,
    Normal,
    OneToOne,
    Uniform,
    base,
    draw,
)
from spikexla.ops import library

NEAR = Distance(np.linspace(0, 1, 60), np.linspace(0, 1, 80), lambda d: np.exp(-9 * d))

# rule, n_pre, n_post: short and long rows, distinct rows by insertion and by selection, more rows
# than one block of a thread, rows beyond one buffer of gaps, and unequal sides.
RULES = [
    (FixedTotal(0), 5, 7),
    (FixedTotal(20_000), 300, 200),
    (FixedTotal(9000), 2, 50_000),
    (FixedOutDegree(0), 4, 5),
    (FixedOutDegree(3), 5000, 100),
    (FixedOutDegree(80), 40, 3000),
    (FixedOutDegree(30), 40, 50),
    (FixedOutDegree(9000), 3, 200_000),
    (FixedInDegree(7), 50, 80),
    (FixedProb(0.0), 10, 10),
    (FixedProb(0.1), 300, 200),
    (FixedProb(0.5), 20, 2000),
    (FixedProb(1.0), 20, 30),
    (AllToAll(), 20, 30),
    (OneToOne(), 40, 40),
    (NEAR, 60, 80),
]
FLAGS = [(True, True), (True, False), (False, True), (False, False)]
CASES = [(r, a, m) for r in RULES for a, m in FLAGS if a or not isinstance(r[0], OneToOne)]


def row_starts(conn):
    if hasattr(conn, "indptr"):
        return np.asarray(conn.indptr)
    return np.arange(conn.n_pre + 1) * conn.fan_out


def pairs_of(conn):
    sources = np.repeat(np.arange(conn.n_pre), np.diff(row_starts(conn)))
    return sources, np.asarray(conn.indices).ravel()


def close(observed, expected, deviation):
    """Whether numbers are as near to their means as 5 of their deviations."""
    return (np.abs(observed - expected) <= 5 * deviation).all()


def named(x):
    """The same in every process, which the repr of a function is not."""
    rule, *sizes = x if isinstance(x, tuple) else (x,)
    return "-".join(map(str, (rule if isinstance(rule, bool) else type(rule).__name__, *sizes)))


@pytest.mark.parametrize(("case", "autapses", "multapses"), CASES, ids=named)
def test_rows_are_sorted_and_obey_the_rule(case, autapses, multapses):
    rule, n_pre, n_post = case
    conn = draw(
        rule, n_pre, n_post, seed=1, allow_autapses=autapses, allow_multapses=multapses
    ).conn
    sources, targets = pairs_of(conn)
    assert conn.shape == (n_pre, n_post)
    assert conn.indices.dtype == np.int32
    assert ((targets >= 0) & (targets < n_post)).all()
    same = np.diff(sources) == 0
    once = not multapses or isinstance(rule, FixedProb | AllToAll | OneToOne | Distance)
    assert (np.diff(targets)[same] >= (1 if once else 0)).all()
    if not autapses:
        assert (sources != targets).all()
    pairs = n_pre * n_post - (0 if autapses else min(n_pre, n_post))
    match rule:
        case FixedTotal(k):
            assert conn.nnz == k
        case FixedOutDegree(k):
            assert (np.diff(row_starts(conn)) == k).all()
        case FixedInDegree(k):
            assert (np.bincount(targets, minlength=n_post) == k).all()
        case FixedProb(p):
            assert close(conn.nnz, pairs * p, np.sqrt(pairs * p * (1 - p)))
        case AllToAll():
            assert conn.nnz == pairs
        case OneToOne():
            assert np.array_equal(sources, targets)
            assert conn.nnz == n_pre
        case Distance(pre, post, probability):
            p = probability(np.abs(pre[:, None] - post))
            assert close(conn.nnz, p.sum(), np.sqrt((p * (1 - p)).sum()) + (not autapses) * 10)


UNIFORM = [
    (FixedTotal(200_000), True, True),
    (FixedTotal(200_000), False, True),
    (FixedTotal(200_000), False, False),
    (FixedOutDegree(40), True, True),
    (FixedOutDegree(40), False, False),
    (FixedOutDegree(400), False, False),
    (FixedInDegree(40), False, True),
    (FixedProb(0.08), False, True),
]


@pytest.mark.parametrize(("rule", "autapses", "multapses"), UNIFORM, ids=named)
def test_every_pair_is_equally_likely(rule, autapses, multapses):
    n = 1000
    conn = draw(rule, n, n, seed=2, allow_autapses=autapses, allow_multapses=multapses).conn
    sources, targets = pairs_of(conn)
    shift = (targets - sources) % n
    for seen in (shift, sources, targets):
        counts = np.bincount(seen, minlength=n)
        counts = counts[1:] if seen is shift and not autapses else counts
        mean = counts.mean()
        # Not more spread than Poisson numbers; drawn without replacement they are less.
        assert ((counts - mean) ** 2).sum() / mean < n + 5 * math.sqrt(2 * n)
        assert close(counts, mean, np.sqrt(mean))


@pytest.mark.parametrize("k", [2, 4, 5])
def test_distinct_rows_are_uniform_subsets(k):
    # 6 and 40 targets: by selection, and by dropping repeated draws.
    for n_post, k_here in ((6, k), (40, 2)):
        rows = draw(FixedOutDegree(k_here), 60_000, n_post, seed=3, allow_multapses=False).conn
        subsets, counts = np.unique(np.asarray(rows.indices), axis=0, return_counts=True)
        assert len(subsets) == math.comb(n_post, k_here)
        mean = 60_000 / len(subsets)
        assert ((counts - mean) ** 2 / mean).sum() < len(subsets) + 5 * math.sqrt(2 * len(subsets))


def test_multapses_come_as_often_as_independent_draws_make_them():
    pairs = np.asarray(draw(FixedOutDegree(2), 200_000, 5, seed=4).conn.indices)
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    law = (2 * np.triu(np.ones((5, 5)), 1) + np.eye(5)) / 25 * 200_000
    assert close(counts, law, np.sqrt(law))


def normal_cdf(x):
    return np.vectorize(statistics.NormalDist().cdf)(x)


LAWS = {
    "uniform": (Uniform(-1.0, 3.0), lambda x: np.clip((x + 1) / 4, 0, 1)),
    "normal": (Normal(87.8, 8.78), lambda x: normal_cdf((x - 87.8) / 8.78)),
    "negative": (Normal(-5.0, 2.0), lambda x: normal_cdf((x + 5) / 2)),
    "bounded": (
        Normal(1.5, 0.75, low=0.1, high=4.0),
        lambda x: (
            (normal_cdf((x - 1.5) / 0.75) - (lo := normal_cdf(-1.4 / 0.75)))
            / (normal_cdf(2.5 / 0.75) - lo)
        ),
    ),
    "lognormal": (
        LogNormal(2.0, 1.0),
        lambda x: normal_cdf(
            (np.log(x) - math.log(2) + math.log1p(0.25) / 2) / math.sqrt(math.log1p(0.25))
        ),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_values_follow_their_law(name):
    law, cdf = LAWS[name]
    drawn = draw(FixedOutDegree(100), 2000, 50, seed=5, weight=law, delay=law)
    weight, delay = (np.asarray(x, float).ravel() for x in (drawn.weight, drawn.delay))
    for x in (weight, delay):
        x = np.sort(x)
        steps = np.arange(x.size) / x.size
        assert np.abs(cdf(x) - steps).max() < 2.0 / math.sqrt(x.size)  # Kolmogorov: 1 in 1500
        low, high = getattr(law, "low", None), getattr(law, "high", None)
        assert x[0] >= np.float32(-np.inf if low is None else low)
        assert x[-1] <= np.float32(np.inf if high is None else high)
    correlation = np.corrcoef(weight, delay)[0, 1], np.corrcoef(weight[1:], weight[:-1])[0, 1]
    assert np.abs(correlation).max() < 5 / math.sqrt(weight.size)


def test_a_law_without_deviation_is_its_mean():
    drawn = draw(AllToAll(), 3, 4, seed=0, weight=Normal(2.5, 0), delay=Normal(1, 0, low=0.1))
    assert (drawn.weight == 2.5).all()
    assert (drawn.delay == 1).all()


def everything(seed):
    laws = {"weight": Normal(1, 0.1), "delay": LogNormal(1.5, 0.5, low=0.1)}
    for rule, n_pre, n_post in RULES:
        for multapses in (True, False):
            yield draw(rule, n_pre, n_post, seed=seed, allow_multapses=multapses, **laws)


def test_the_seed_decides_and_the_number_of_threads_does_not():
    native = library.native()
    before = native.thread_limit()
    results = []
    try:
        for threads in (1, 2, 7):
            native.set_thread_limit(threads)
            results.append(jax.tree.map(np.asarray, list(everything(8))))
    finally:
        native.set_thread_limit(before)
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    for a, b in zip(results[0], everything(9), strict=True):
        assert a.weight.size == 0 or not np.array_equal(a.weight, b.weight)


def test_a_row_is_its_own_function_of_seed_and_number():
    """Fewer sources: the same first rows, for the rules that draw rows apart."""
    for rule in (FixedOutDegree(80), FixedProb(0.1)):
        many, few = (draw(rule, n, 900, seed=6, weight=Uniform(0, 1)) for n in (500, 37))
        size = few.conn.nnz
        np.testing.assert_array_equal(pairs_of(many.conn)[1][:size], pairs_of(few.conn)[1])
        np.testing.assert_array_equal(many.weight.ravel()[:size], few.weight.ravel())


CHECKSUM = """
import sys, zlib
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
from test_connect_drawn import everything
print([zlib.crc32(np.asarray(x).tobytes()) for x in jax.tree.leaves(list(everything(1)))])
"""


def test_every_simd_level_draws_the_same():
    seen = set()
    for level in library.native().simd_levels():
        run = subprocess.run(
            [sys.executable, "-c", CHECKSUM, os.path.dirname(__file__)],
            env=dict(os.environ, SPIKEXLA_SIMD=level),
            capture_output=True,
            text=True,
        )
        if "lacks these instructions" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        seen.add(run.stdout)
    assert len(seen) == 1


def test_a_comm_is_a_description_until_it_is_asked():
    comm = sx.EventDrawn(
        300, 200, FixedTotal(4000), Normal(0.5, 0.1), delay=Normal(1.5, 0.7, low=0.1), seed=3
    )
    assert not {"conn", "weight", "_delay"} & set(vars(comm))
    assert comm.longest_delay == pytest.approx(1.5 + 0.7 * 6.7)
    again = pickle.loads(pickle.dumps(comm))
    dense = np.zeros((300, 200), np.float32)
    np.add.at(dense, pairs_of(comm.conn), np.asarray(comm.weight.value))
    spikes = (np.arange(300) % 3 == 0).astype(np.float32)
    np.testing.assert_allclose(comm(jnp.asarray(spikes)), spikes @ dense, rtol=1e-4)
    assert list(comm.states()) == ["weight"]
    assert comm.delay.shape == comm.conn.indices.shape
    assert comm.delay.max() <= comm.longest_delay
    np.testing.assert_array_equal(again.delay, comm.delay)
    np.testing.assert_array_equal(again.weight.value, comm.weight.value)


def test_a_comm_can_be_asked_inside_of_jit():
    comm = sx.EventDrawn(30, 20, FixedProb(0.3), Uniform(0, 1), seed=3)
    y = sx.transform.jit(lambda s: comm(s))(jnp.ones(30))
    assert float(y.sum()) == pytest.approx(float(comm.weight.value.sum()), rel=1e-5)


@pytest.mark.parametrize(
    "weight", [2.0, lambda shape: jnp.full(shape, 2.0)], ids=["number", "init"]
)
def test_a_comm_takes_the_weights_of_the_others(weight):
    comm = sx.EventDrawn((5, 2), 4, FixedInDegree(3), weight, seed=1)
    np.testing.assert_allclose(comm(jnp.ones((5, 2))), np.full(4, 6.0))
    assert comm.delay is None
    assert comm.longest_delay is None


def test_units_of_laws():
    u = pytest.importorskip("brainunit")
    comm = sx.EventDrawn(
        9, 9, AllToAll(), Normal(600 * u.uA, 6 * u.uA), delay=Uniform(1 * u.ms, 0.002 * u.second)
    )
    assert comm.unit == "mA"
    assert float(comm.weight_mantissa.mean()) == pytest.approx(0.6, rel=0.02)
    assert 1.0 <= comm.delay.min() < comm.delay.max() <= 2.0


def drawn(rule, n_pre=5, n_post=5, **options):
    return draw(rule, n_pre, n_post, seed=0, **options)


WRONG = {
    "p": (lambda: FixedProb(10), ValueError, "p=10 .*divide by 100"),
    "nan p": (lambda: FixedProb(math.nan), ValueError, "p=nan"),
    "no p": (lambda: FixedProb("x"), TypeError, "p='x' must be a number"),
    "k": (lambda: FixedOutDegree(-1), ValueError, "k=-1 must be at least 0"),
    "float k": (lambda: FixedInDegree(1.5), TypeError, "k=1.5 must be an integer"),
    "total": (lambda: FixedTotal(-3), ValueError, "k=-3 must lie"),
    "float total": (lambda: FixedTotal(1e6), TypeError, "k=1000000.0 must be an integer"),
    "rule": (lambda: drawn(0.1), TypeError, "rule=0.1 must be a rule"),
    "seed": (lambda: draw(AllToAll(), 5, 5, seed=-1), ValueError, "seed=-1"),
    "size": (lambda: drawn(AllToAll(), 0), ValueError, "n_pre=0"),
    "targets": (
        lambda: drawn(FixedOutDegree(6), allow_multapses=False),
        ValueError,
        "k=6 different targets cannot be had from 5",
    ),
    "sources": (
        lambda: drawn(FixedInDegree(5), allow_multapses=False, allow_autapses=False),
        ValueError,
        "k=5 different sources cannot be had from 4",
    ),
    "only self": (
        lambda: drawn(FixedTotal(1), 1, 1, allow_autapses=False),
        ValueError,
        "no target",
    ),
    "distinct total": (
        lambda: drawn(FixedTotal(26), allow_multapses=False),
        ValueError,
        "total=26 different pairs cannot be had from 25",
    ),
    "positions": (lambda: drawn(NEAR), ValueError, "60 sources and 80 targets"),
    "unequal": (lambda: drawn(OneToOne(), 5, 6), ValueError, "5 sources and 6 targets"),
    "one to none": (lambda: drawn(OneToOne(), allow_autapses=False), ValueError, "nothing"),
    "sd": (lambda: drawn(AllToAll(), weight=Normal(1, -1)), ValueError, "sd must be 0 or more"),
    "nan mean": (lambda: drawn(AllToAll(), weight=Normal(math.nan, 1)), ValueError, "mean is NaN"),
    "bounds": (lambda: drawn(AllToAll(), weight=Normal(0, 1, 2, 1)), ValueError, "must not exceed"),
    "outside": (
        lambda: drawn(AllToAll(), weight=Normal(0, 1, 5)),
        ValueError,
        "lie inside the limits",
    ),
    "uniform": (lambda: drawn(AllToAll(), weight=Uniform(2, 1)), ValueError, "must not exceed"),
    "lognormal": (
        lambda: drawn(AllToAll(), weight=LogNormal(-1, 1)),
        ValueError,
        "must be positive",
    ),
    "delay": (
        lambda: sx.EventDrawn(5, 5, AllToAll(), 1.0, delay=Normal(1.5, 0.7)),
        ValueError,
        "could be negative.*low=0.1",
    ),
    "nan weight": (lambda: sx.EventDrawn(5, 5, AllToAll(), math.nan), ValueError, "NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_named(case):
    call, error, text = WRONG[case]
    with pytest.raises(error, match=text):
        call()


def test_memory_is_refused_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 10_000_000)
    for rule in (FixedTotal(8_000_000), FixedProb(0.08), FixedOutDegree(80), FixedInDegree(8000)):
        with pytest.raises(MemoryError, match=r"(about 8000000|1000 x 8000) synapses need"):
            draw(rule, 100_000, 1000, seed=0, weight=Normal(1, 1))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("rule", [FixedTotal(900), FixedOutDegree(9), FixedProb(0.2)], ids=str)
def test_a_projection_takes_the_drawn_delays(rule):
    def trace(comm, delay):
        with sx.environ.context(dt=0.1):
            post = sx.LIF(50)
            proj = sx.AlignPostProj(
                comm=comm,
                syn=sx.Expon.desc(50, tau=5.0),
                out=sx.CUBA.desc(scale=1.0),
                post=post,
                delay=delay,
            )
            post.init_state()
            spikes = (np.random.default_rng(0).random((45, 80)) < 0.1).astype(np.float32)
            for x in spikes:
                proj(jnp.asarray(x))
                post(0.0)
            return np.asarray(post.V.value)

    law = Normal(1.5, 0.7, low=0.1, high=3.05)
    drawn, again = (sx.EventDrawn(80, 50, rule, Normal(0.5, 0.1), delay=law, seed=3) for _ in "ab")
    given = sx.comm.EventComm(80, 50, again.conn, again.weight.value)
    found = trace(drawn, None)
    # A delay that is given may be off by 0.001 of a step; one that is drawn is what it is.
    steps = np.floor(np.asarray(again.delay, np.float64) / 0.1 + 0.5)
    np.testing.assert_array_equal(found, trace(given, steps * 0.1))
    assert not np.array_equal(found, trace(given, None))
