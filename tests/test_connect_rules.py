"""Builders by rule and from files, and distributions: their laws, and that the seed decides all."""

import math

import brainunit as u
import jax
import numpy as np
import pytest
import spikexla as sx
from spikexla.connect import (
    LogNormal,
    Normal,
    Uniform,
    all_to_all,
    base,
    distance,
    fixed_num_post,
    fixed_num_pre,
    fixed_total,
    from_file,
    one_to_one,
)
from spikexla.ops import library

FLAGS = [(True, True), (True, False), (False, True), (False, False)]
# (n_pre, n_post, total): sparse and dense rows, sorted by network and by radix, by bitmap, full.
TOTALS = [
    (1, 2, 1),
    (3, 7, 0),
    (50, 60, 2500),
    (40, 40, 1560),
    (300, 200, 12_000),
    (17, 90_000, 15_000),
    (100, 3, 150),
    (5000, 7000, 40_000),
]


def pairs(conn):
    """(source, target) of every synapse."""
    targets = np.asarray(conn.indices)
    if targets.ndim == 2:
        return np.repeat(np.arange(conn.n_pre), targets.shape[1]), targets.ravel()
    return np.repeat(np.arange(conn.n_pre), np.diff(np.asarray(conn.indptr))), targets


def deviation(counts, expected):
    """How many standard deviations chi-square is from its mean."""
    free = counts.size - 1
    return abs(((counts - expected) ** 2 / expected).sum() - free) / np.sqrt(2 * free)


@pytest.mark.parametrize(("multapses", "autapses"), FLAGS)
@pytest.mark.parametrize("sizes", TOTALS, ids=str)
def test_fixed_total_obeys_the_rules(sizes, multapses, autapses):
    n_pre, n_post, total = sizes
    conn = fixed_total(*sizes, seed=1, allow_multapses=multapses, allow_autapses=autapses)
    source, target = pairs(conn)
    assert conn.shape == (n_pre, n_post)
    assert conn.nnz == total == source.size
    assert ((target >= 0) & (target < n_post)).all()
    assert (np.diff(source * np.int64(n_post) + target) >= (0 if multapses else 1)).all()
    if not autapses:
        assert (source != target).all()


@pytest.mark.parametrize(("multapses", "autapses"), FLAGS)
def test_fixed_total_draws_every_pair_equally_often(multapses, autapses):
    n_pre, n_post, total = 5, 4, 9
    allowed = np.array([[autapses or i != j for j in range(n_post)] for i in range(n_pre)])
    counts = np.zeros((n_pre, n_post))
    both = 0
    for seed in range(3000):
        conn = fixed_total(
            n_pre, n_post, total, seed=seed, allow_multapses=multapses, allow_autapses=autapses
        )
        seen = np.zeros((n_pre, n_post))
        np.add.at(seen, pairs(conn), 1)
        counts += seen
        both += seen[0, 1] * seen[4, 3]
    assert (counts[~allowed] == 0).all()
    m = allowed.sum()
    shrink = 1.0 if multapses else 1 - (total - 1) / (m - 1)  # variance without replacement
    expected = 3000 * total / m
    assert deviation((counts[allowed] - expected) / np.sqrt(shrink) + expected, expected) < 4
    # Two pairs together: the joint law, so that row sizes are neither too even nor too uneven.
    joint = 3000 * total * (total - 1) / (m * m if multapses else m * (m - 1))
    assert abs(both - joint) < 5 * np.sqrt(2 * joint)


@pytest.mark.parametrize(
    ("multapses", "expected"), [(True, 1 - 1 / 400), (False, (1 - 1 / 400) * (1 - 0.4))]
)
def test_row_sizes_of_fixed_total_scatter_as_they_should(multapses, expected):
    n, total = 400, 64_000
    sizes = [
        np.diff(np.asarray(fixed_total(n, n, total, seed=s, allow_multapses=multapses).indptr))
        for s in range(40)
    ]
    ratio = np.mean((np.array(sizes) - total / n) ** 2) / (total / n)  # variance over mean
    assert abs(ratio / expected - 1) < 5 * np.sqrt(2 / (40 * n))


@pytest.mark.parametrize(("multapses", "autapses"), FLAGS)
@pytest.mark.parametrize("sizes", [(90, 70, 30), (70, 90, 0), (2, 5, 1), (900, 40, 600)], ids=str)
def test_fixed_num_pre_gives_every_target_k_sources(sizes, multapses, autapses):
    n_pre, n_post, k = sizes
    conn = fixed_num_pre(*sizes, seed=2, allow_multapses=multapses, allow_autapses=autapses)
    source, target = pairs(conn)
    assert conn.shape == (n_pre, n_post)
    assert (np.bincount(target, minlength=n_post) == k).all()
    assert (np.diff(source * n_post + target) >= (0 if multapses else 1)).all()
    if not autapses:
        assert (source != target).all()
    mirror = fixed_num_post(
        n_post, n_pre, k, seed=2, allow_multapses=multapses, allow_autapses=autapses
    )
    order = np.lexsort((source, target))
    np.testing.assert_array_equal(source[order], np.asarray(mirror.indices).ravel())


def test_regular_rules():
    assert [x.tolist() for x in pairs(one_to_one(3))] == [[0, 1, 2]] * 2
    for n_pre, n_post, autapses in [(3, 4, True), (4, 3, False), (1, 1, False)]:
        full = np.ones((n_pre, n_post), bool)
        if not autapses:
            np.fill_diagonal(full, False)
        conn = all_to_all(n_pre, n_post, allow_autapses=autapses)
        np.testing.assert_array_equal(pairs(conn), np.nonzero(full))


def test_distance_connects_with_the_probability_of_each_distance():
    rng = np.random.default_rng(0)
    pre, post = rng.uniform(0, 2, (900, 2)), rng.uniform(0, 2, (1300, 2))
    for period in (None, 2.0, (2.0, 2.0)):
        conn = distance(pre, post, lambda d: 0.6 * np.exp(-d / 0.3), seed=3, period=period)
        gap = np.abs(pre[:, None] - post[None])
        far = np.linalg.norm(gap if period is None else np.minimum(gap, 2 - gap), axis=-1)
        hit = np.zeros(far.shape, bool)
        hit[pairs(conn)] = True
        assert hit.sum() == conn.nnz
        bins = (far / 0.1).astype(int)
        for b in range(12):
            chance = 0.6 * np.exp(-far[bins == b] / 0.3)
            spread = np.sqrt((chance * (1 - chance)).sum())
            assert abs(hit[bins == b].sum() - chance.sum()) < 5 * spread


def test_distance_in_one_axis_without_autapses():
    x = np.arange(6.0)
    conn = distance(x, x, lambda d: d <= 1, seed=0, period=6, allow_autapses=False)
    source, target = pairs(conn)
    assert conn.nnz == 12
    assert (np.isin((source - target) % 6, (1, 5))).all()


def unequal(n):
    return np.linspace(0, 1, n)


def near(d):
    return d < 0.5


LAWS = {
    "fixed_total": lambda seed: fixed_total(3000, 2500, 250_000, seed=seed),
    "fixed_total set": lambda seed: fixed_total(
        3000, 2500, 250_000, seed=seed, allow_multapses=False, allow_autapses=False
    ),
    "fixed_total bitmap": lambda seed: fixed_total(
        300, 400, 100_000, seed=seed, allow_multapses=False
    ),
    "fixed_num_pre": lambda seed: fixed_num_pre(3000, 2500, 60, seed=seed),
    "distance": lambda seed: distance(
        unequal(1500), unequal(1400), lambda d: 0.3 * near(d), seed=seed
    ),
    "Normal": lambda seed: Normal(1.0, 0.5, low=0.0, high=1.5, seed=seed)(200_000),
    "LogNormal": lambda seed: LogNormal(1.0, 0.5, high=2.0, seed=seed)(200_000),
    "Uniform": lambda seed: Uniform(1.0, 3.0, seed=seed)(200_000),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_seed_decides_and_the_number_of_threads_does_not(name):
    native = library.native()
    before = native.thread_limit()
    results = []
    try:
        for threads in (1, 2, 7):
            native.set_thread_limit(threads)
            results.append(jax.tree.leaves(jax.tree.map(np.asarray, LAWS[name](8))))
    finally:
        native.set_thread_limit(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    another = jax.tree.leaves(jax.tree.map(np.asarray, LAWS[name](9)))[-1]
    assert another.shape != results[0][-1].shape or (another != results[0][-1]).any()


def normal_below(x, mean=0.0, sd=1.0):
    return 0.5 * math.erfc((mean - x) / sd / math.sqrt(2))


def log_below(x):
    variance = math.log1p(0.25)
    return normal_below(math.log(x), -variance / 2, math.sqrt(variance))


def uniform_below(x):
    return (x - 1) / 2


# A law, where its limits are, and its cumulative probability without them.
DISTRIBUTIONS = {
    "normal": (Normal(2.0, 0.5, seed=1), (None, None), lambda x: normal_below(x, 2, 0.5)),
    "normal low": (Normal(-2.0, 2.0, low=-2.5, seed=2), (-2.5, None), None),
    "normal high": (Normal(-2.0, 2.0, high=0.0, seed=3), (None, 0.0), None),
    "normal both": (Normal(-2.0, 2.0, -3.0, 1.0, seed=4), (-3.0, 1.0), None),
    "log": (LogNormal(1.0, 0.5, seed=5), (None, None), log_below),
    "log both": (LogNormal(1.0, 0.5, 0.5, 2.0, seed=6), (0.5, 2.0), log_below),
    "uniform": (Uniform(1.0, 3.0, seed=7), (1.0, 3.0), uniform_below),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("precision", [32, 64])
def test_distributions_have_their_law_inside_the_limits(name, precision):
    law, (low, high), below = DISTRIBUTIONS[name]
    below = below or (lambda x: normal_below(x, -2, 2))
    with jax.enable_x64(precision == 64), sx.environ.context(precision=precision):
        x = np.asarray(law((100, 2000)))
    assert x.shape == (100, 2000)
    assert x.dtype == (np.float64 if precision == 64 else np.float32)
    assert low is None or x.min() >= low
    assert high is None or x.max() <= high
    start = 0.0 if low is None else below(low)
    span = (1.0 if high is None else below(high)) - start
    x = np.sort(x.ravel().astype(float))
    law_at = (np.array([below(v) for v in x[::100]]) - start) / span
    assert np.abs(law_at - np.arange(0, x.size, 100) / x.size).max() < 1.95 / np.sqrt(x.size)


def test_distributions_are_weights_with_units():
    weight = Normal(-350.0 * u.pA, 0.035 * u.nA, high=0.0 * u.pA, seed=1)
    comm = sx.EventFixedTotal(30, 40, 500, weight, seed=2, allow_autapses=False)
    assert comm.unit == "mA"
    assert comm.weight_mantissa.shape == (500,)
    assert abs(float(comm.weight_mantissa.mean()) * 1e9 + 350) < 10
    assert float(comm.weight_mantissa.std()) * 1e9 == pytest.approx(35, rel=0.2)
    plain = sx.EventFixedTotal(30, 40, 500, Uniform(1.0, 2.0, seed=1), seed=2)
    total = plain(np.ones(30, np.float32)).sum()
    assert float(total) == pytest.approx(float(plain.weight.value.sum()), rel=1e-5)
    assert Normal(2.0, 0.0, seed=0)(3).tolist() == [2.0] * 3
    assert Uniform(0.0, 1.0, seed=0)(0).shape == (0,)


def test_fixed_in_degree_of_the_comm_is_fixed_num_pre():
    comm = sx.EventFixedNumConn(50, 30, 4, 1.0, efferent_target="pre", seed=5)
    jax.tree.map(np.testing.assert_array_equal, comm.conn, fixed_num_pre(50, 30, 4, seed=5))


def test_files_give_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    columns = {
        "pre": rng.integers(0, 9, 200),
        "post": rng.integers(0, 7, 200),
        "weight": rng.normal(size=200),
        "delay": rng.uniform(0, 9, 200),
    }
    order = np.lexsort((columns["post"], columns["pre"]))
    for names in (["pre", "post"], ["pre", "post", "weight"], ["delay", "post", "weight", "pre"]):
        chosen = {name: columns[name] for name in names}
        np.savez(tmp_path / "edges.npz", **chosen)
        rows = zip(*(chosen[name].tolist() for name in names), strict=True)
        lines = [",".join(names), *(",".join(map(repr, row)) for row in rows)]
        (tmp_path / "edges.csv").write_text("\n".join(lines))
        for kind in ("npz", "csv"):
            edges = from_file(tmp_path / f"edges.{kind}", 9, 7)
            np.testing.assert_array_equal(
                pairs(edges.conn), [columns["pre"][order], columns["post"][order]]
            )
            for name in ("weight", "delay"):
                found = getattr(edges, name)
                if name in names:
                    np.testing.assert_array_equal(found, columns[name][order])
                else:
                    assert found is None


def npz(**arrays):
    def write(path):
        np.savez(path, **arrays)

    return write


def cut(path):
    np.savez(path, pre=np.arange(3), post=np.arange(3))
    path.write_bytes(path.read_bytes()[:-90])


def flipped(path):
    np.savez_compressed(path, pre=np.arange(3000) % 3, post=np.arange(3000) % 3)
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)


BAD_FILES = {
    "ending": ("e.txt", b"pre,post\n", "edge list ends in .csv or .npz"),
    "empty csv": ("e.csv", b"", "the columns are"),
    "no names": ("e.csv", b"0,1\n1,2\n", "the columns are 0, 1. They must be pre and post"),
    "no post": ("e.csv", b"pre,weight\n0,1\n", "must be pre and post"),
    "unknown": ("e.csv", b"pre,post,colour\n0,1,2\n", "post, colour. They"),
    "twice": ("e.csv", b"pre,post,pre\n0,1,2\n", "each once"),
    "word": ("e.csv", b"pre,post\n0,1\n0,x\n", "'x' to int64 at row 1, column 2"),
    "fraction": ("e.csv", b"pre,post\n0,1.5\n", "rows are those after"),
    "short row": ("e.csv", b"pre,post\n0,1\n0\n", "rows are those after"),
    "binary": ("e.csv", b"\xff\xfe\x00pre", "damaged, or no text"),
    "nan": ("e.csv", b"pre,post,weight\n0,1,nan\n", r"weight\[0\] = nan"),
    "negative delay": ("e.csv", b"pre,post,delay\n0,1,-2\n", r"delay\[0\] = -2.0"),
    "range": ("e.csv", b"pre,post\n0,1\n7,1\n", r"e.csv: pre\[1\] = 7 is outside"),
    "negative": ("e.csv", b"pre,post\n0,-1\n", r"post\[0\] = -1 is outside"),
    "no zip": ("e.npz", b"pre,post\n0,1\n", "damaged, or not written by numpy.savez"),
    "cut": ("e.npz", cut, "damaged, or not written by numpy.savez"),
    "flipped": ("e.npz", flipped, "damaged, or not written by numpy.savez"),
    "objects": (
        "e.npz",
        npz(pre=np.array([None], object), post=np.zeros(1, int)),
        "damaged, or not written",
    ),
    "lengths": ("e.npz", npz(pre=np.zeros(2, int), post=np.zeros(1, int)), "pre has 2 synapses"),
    "weights": (
        "e.npz",
        npz(pre=np.zeros(2, int), post=np.zeros(2, int), weight=np.ones(3)),
        "weight has shape",
    ),
    "missing": ("e.npz", npz(pre=np.zeros(2, int)), "must be pre and post"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(tmp_path, case):
    name, content, text = BAD_FILES[case]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(ValueError, match=text) as caught:
        from_file(path, 3, 3)
    assert str(path) in str(caught.value)


def test_a_csv_without_edges_and_floats_for_neurons(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("pre,post,weight\n")
    assert from_file(path, 3, 3).conn.nnz == 0
    with pytest.raises(FileNotFoundError):
        from_file(tmp_path / "absent.csv", 3, 3)
    np.savez(tmp_path / "e.npz", pre=np.zeros(2), post=np.zeros(2))
    with pytest.raises(TypeError, match=r"e\.npz: pre has dtype float64"):
        from_file(tmp_path / "e.npz", 3, 3)


X = np.arange(4.0)
WRONG = {
    "negative": (lambda: fixed_total(5, 5, -1, seed=0), ValueError, "total=-1 must lie"),
    "float": (lambda: fixed_total(5, 5, 2.0, seed=0), TypeError, "total=2.0 must be an integer"),
    "too many": (
        lambda: fixed_total(5, 5, 21, seed=0, allow_multapses=False, allow_autapses=False),
        ValueError,
        "total=21 different pairs cannot be had from 20 .*without autapses",
    ),
    "only self": (
        lambda: fixed_total(1, 1, 1, seed=0, allow_autapses=False),
        ValueError,
        "leaves source 0 no target",
    ),
    "in-degree": (
        lambda: fixed_num_pre(5, 9, 6, seed=0, allow_multapses=False),
        ValueError,
        "k=6 different sources cannot be had from 5 .*n_pre=5",
    ),
    "only itself": (
        lambda: fixed_num_pre(1, 3, 1, seed=0, allow_autapses=False),
        ValueError,
        "n_pre=1 .*leaves target 0 no source",
    ),
    "nobody": (lambda: one_to_one(0), ValueError, "n=0 must be at least 1"),
    "axes": (lambda: distance(X, np.ones((2, 2)), near, seed=0), ValueError, "1 axes and post 2"),
    "nowhere": (lambda: distance([0.0, np.nan], X, near, seed=0), ValueError, r"pre\[1\]"),
    "no probability": (
        lambda: distance(X, X, lambda d: d, seed=0),
        ValueError,
        r"probability\(2\)",
    ),
    "shape": (lambda: distance(X, X, lambda d: d[0], seed=0), ValueError, r"made shape \(4,\)"),
    "period": (lambda: distance(X, X, near, seed=0, period=0), ValueError, "period=0 must be"),
    "sd": (lambda: Normal(1.0, -1.0, seed=0), ValueError, "sd must be 0 or more"),
    "nan mean": (lambda: Normal(math.nan, 1.0, seed=0), ValueError, "mean is NaN"),
    "limits": (lambda: Normal(0.0, 1.0, 2.0, 1.0, seed=0), ValueError, "low must not exceed high"),
    "rare": (lambda: Normal(0.0, 1.0, low=5.0, seed=0), ValueError, "of the draws lie inside"),
    "outside": (lambda: Normal(0.0, 0.0, low=5.0, seed=0), ValueError, "only 0 of the draws"),
    "log mean": (lambda: LogNormal(-1.0, 1.0, seed=0), ValueError, "must be positive"),
    "uniform": (lambda: Uniform(2.0, 1.0, seed=0), ValueError, "low must not exceed high"),
    "mixed": (lambda: Normal(1.0 * u.pA, 0.1, seed=0), TypeError, "sd and mean differ"),
    "word": (lambda: Normal("1.x", 0.1, seed=0), TypeError, "mean='1.x' must be one number"),
    "seed": (lambda: Normal(1.0, 0.1, seed=-1), ValueError, "seed=-1 must lie"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_named(case):
    call, error, text = WRONG[case]
    with pytest.raises(error, match=text):
        call()


def test_memory_is_refused_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 10_000_000)
    for call, text in (
        (lambda: fixed_total(1000, 1000, 10**12, seed=0), "1000000000000 synapses need 4e.03 GB"),
        (lambda: fixed_num_pre(1000, 100_000, 80, seed=0), "100000 x 80 synapses need 0.032 GB"),
        (lambda: Normal(1.0, 0.1, seed=0)(10**7), "10000000 values of Normal need"),
        (lambda: all_to_all(10**5, 10**5), "about 10000000000 synapses"),
        (lambda: distance(np.zeros(3000), np.zeros(3000), lambda d: 1.0, seed=0), "synapses need"),
    ):
        with pytest.raises(MemoryError, match=text):
            call()
