"""Connectivity: who draws what, sorted rows, and that nothing but the arguments matters."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from spikexla.connect import (
    CSR,
    FixedFanOut,
    base,
    fixed_num_post,
    fixed_prob,
    from_arrays,
    from_dense,
    from_scipy,
)
from spikexla.ops import library

# (n_pre, n_post, k): around the 16 rows drawn side by side, the longest row that the network sorts,
# one and two radix passes, and where distinct rows are drawn by bitmap.
FIXED_NUM = [
    (1, 1, 1),
    (3, 7, 0),
    (15, 100, 1),
    (16, 64, 4),
    (17, 1000, 80),
    (33, 40, 20),
    (5, 5000, 512),
    (5, 1500, 513),
    (3, 200_000, 2000),
]
FLAGS = [(True, True), (True, False), (False, True), (False, False)]


def chi_square(counts, expected):
    """How many standard deviations chi-square is from its mean."""
    free = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - free) / np.sqrt(2 * free)


# A lone neuron without autapses has no target: that is one of the errors below.
CASES = [(s, *f) for s in FIXED_NUM for f in FLAGS if s[1] > 1 or f[1]]


@pytest.mark.parametrize(("sizes", "multapses", "autapses"), CASES, ids=str)
def test_fixed_num_rows_are_sorted_and_obey_the_rules(sizes, multapses, autapses):
    n_pre, n_post, k = sizes
    conn = fixed_num_post(*sizes, seed=1, allow_multapses=multapses, allow_autapses=autapses)
    rows = np.asarray(conn.indices)
    assert rows.shape == (n_pre, k)
    assert rows.dtype == np.int32
    assert conn.shape == (n_pre, n_post)
    assert conn.nnz == n_pre * k
    assert ((rows >= 0) & (rows < n_post)).all()
    assert (np.diff(rows, axis=1) >= (0 if multapses else 1)).all()
    if not autapses:
        assert (rows != np.arange(n_pre)[:, None]).all()


@pytest.mark.parametrize("fan", [1, 3, 80, 600])
@pytest.mark.parametrize(("multapses", "autapses"), FLAGS)
def test_fixed_num_is_uniform(fan, multapses, autapses):
    n_post = 997
    conn = fixed_num_post(
        4000, n_post, fan, seed=2, allow_multapses=multapses, allow_autapses=autapses
    )
    rows = np.asarray(conn.indices)
    source = np.arange(4000)[:, None]
    # Seen from its source every target is equally likely, the source itself apart.
    shift = (rows - source) % n_post
    inner = source[:, 0] < n_post
    counts = np.bincount(shift[inner].ravel(), minlength=n_post)[0 if autapses else 1 :]
    scale = 1.0 if multapses else np.sqrt(1 - fan / n_post)  # without replacement counts vary less
    z = (counts - counts.mean()) / np.sqrt(counts.mean()) / scale
    assert abs(chi_square(z + 1.0, 1.0)) < 5
    outer = np.bincount(rows[~inner].ravel(), minlength=n_post)
    z = (outer - outer.mean()) / np.sqrt(outer.mean()) / scale
    assert abs(chi_square(z + 1.0, 1.0)) < 5


@pytest.mark.parametrize(("n_post", "k"), [(6, 2), (6, 4), (40, 2)])
def test_distinct_rows_are_uniform_subsets(n_post, k):
    rows = np.asarray(fixed_num_post(60_000, n_post, k, seed=3, allow_multapses=False).indices)
    subsets, counts = np.unique(rows, axis=0, return_counts=True)
    total = 1
    for j in range(k):
        total = total * (n_post - j) // (j + 1)
    assert len(subsets) == total
    assert abs(chi_square(counts, 60_000 / total)) < 5


def test_multapses_are_independent_draws():
    pairs = np.asarray(fixed_num_post(200_000, 5, 2, seed=4).indices)
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25)
    expected = np.array([[0 if j < i else 1 if i == j else 2 for j in range(5)] for i in range(5)])
    seen = expected.ravel() > 0
    assert (counts[~seen] == 0).all()
    expected = expected.ravel()[seen] * 200_000 / 25
    assert abs(chi_square(counts[seen], expected)) < 5


@pytest.mark.parametrize("autapses", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 50), (300, 200), (200, 300), (40, 20_000)], ids=str)
@pytest.mark.parametrize("p", [0.0, 1e-9, 0.02, 0.5, 0.999, 1.0])
def test_fixed_prob_rows_are_sorted_and_as_many_as_p_says(sizes, p, autapses):
    n_pre, n_post = sizes
    conn = fixed_prob(n_pre, n_post, p, seed=5, allow_autapses=autapses)
    indptr, indices = np.asarray(conn.indptr), np.asarray(conn.indices)
    assert indptr.dtype == indices.dtype == np.int32
    assert indptr.shape == (n_pre + 1,)
    assert indptr[-1] == indices.size == conn.nnz
    source = np.repeat(np.arange(n_pre), np.diff(indptr))
    flat = source * np.int64(n_post) + indices
    assert (np.diff(flat) > 0).all()  # sorted, and no pair twice
    assert ((indices >= 0) & (indices < n_post)).all()
    pairs = n_pre * n_post - (0 if autapses else min(n_pre, n_post))
    assert abs(conn.nnz - pairs * p) <= 5 * np.sqrt(pairs * p * (1 - p)) + 1e-3
    if not autapses:
        assert (indices != source).all()


def test_fixed_prob_is_uniform_in_sources_targets_and_gaps():
    n, p = 1000, 0.05
    conn = fixed_prob(n, n, p, seed=6)
    counts = np.bincount(np.asarray(conn.indices), minlength=n)
    for per in (counts, np.diff(np.asarray(conn.indptr))):
        z = (per - n * p) / np.sqrt(n * p * (1 - p))
        assert abs((z**2).sum() - n) < 5 * np.sqrt(2 * n)
    flat = np.repeat(np.arange(n), np.diff(conn.indptr)) * n + np.asarray(conn.indices)
    gaps = np.bincount(np.minimum(np.diff(flat) - 1, 60), minlength=61)
    law = np.append(p * (1 - p) ** np.arange(60), (1 - p) ** 60)
    assert abs(chi_square(gaps, law * gaps.sum())) < 5


BUILDERS = {
    "fixed_num": lambda seed: fixed_num_post(3000, 2500, 90, seed=seed),
    "distinct": lambda seed: fixed_num_post(3000, 2500, 90, seed=seed, allow_multapses=False),
    "bitmap": lambda seed: fixed_num_post(999, 500, 300, seed=seed, allow_multapses=False),
    "radix": lambda seed: fixed_num_post(300, 90_000, 700, seed=seed, allow_autapses=False),
    "fixed_prob": lambda seed: fixed_prob(3000, 2500, 0.04, seed=seed, allow_autapses=False),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_seed_decides_and_the_number_of_threads_does_not(name):
    native = library.native()
    before = native.thread_limit()
    results = []
    try:
        for threads in (1, 2, 7):
            native.set_thread_limit(threads)
            results.append(jax.tree.map(np.asarray, BUILDERS[name](8)))
    finally:
        native.set_thread_limit(before)
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    another = BUILDERS[name](9)
    assert another.nnz != results[0].nnz or not np.array_equal(another.indices, results[0].indices)


CHECKSUM = """
import zlib, numpy as np
from spikexla.connect import fixed_num_post, fixed_prob
a = fixed_num_post(500, 70_000, 80, seed=1, allow_autapses=False)
b = fixed_num_post(50, 70_000, 700, seed=1, allow_multapses=False)
c = fixed_prob(500, 7000, 0.01, seed=2**63 + 5)
print([zlib.crc32(np.asarray(x.indices).tobytes()) for x in (a, b, c)])
"""


def test_every_simd_level_builds_the_same():
    seen = set()
    for level in library.native().simd_levels():
        env = dict(os.environ, SPIKEXLA_SIMD=level)
        run = subprocess.run(
            [sys.executable, "-c", CHECKSUM], env=env, capture_output=True, text=True
        )
        if "lacks these instructions" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        seen.add(run.stdout)
    # Frozen: a change of these numbers changes every user's networks, and belongs in the changelog.
    assert seen == {"[4050193789, 3116615941, 2122111027]\n"}


def test_philox_passes_the_known_answers_of_its_authors():
    philox = library.native().philox
    assert philox(0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 2**32 - 1
    expected = (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert philox(2**64 - 1, ones, ones, 2**64 - 1) == expected
    expected = (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    assert philox(0x299F31D0A4093822, 0x03707344, 0x13198A2E, 0x85A308D3243F6A88) == expected


@pytest.mark.parametrize(
    "sizes", [(1, 1, 0), (1, 1, 5), (10, 20, 300), (1000, 3, 5000), (7, 900, 900)]
)
def test_from_arrays_is_a_stable_sort_of_pairs(sizes):
    n_pre, n_post, total = sizes
    rng = np.random.default_rng(0)
    pre, post = rng.integers(0, n_pre, total), rng.integers(0, n_post, total)
    conn, order = from_arrays(pre, post, n_pre, n_post)
    np.testing.assert_array_equal(order, np.lexsort((post, pre)))
    np.testing.assert_array_equal(conn.indices, post[order])
    np.testing.assert_array_equal(conn.indptr, np.searchsorted(pre[order], np.arange(n_pre + 1)))


def test_from_scipy_and_from_dense_keep_the_matrix():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(13, 17)) * (rng.random((13, 17)) < 0.3)
    ways = {
        "dense": from_dense(dense),
        "csr": from_scipy(scipy_sparse.csr_matrix(dense)),
        "csc": from_scipy(scipy_sparse.csc_array(dense)),
    }
    for conn, weights in ways.values():
        back = np.zeros_like(dense)
        back[np.repeat(np.arange(13), np.diff(conn.indptr)), np.asarray(conn.indices)] = weights
        np.testing.assert_array_equal(back, dense)


@pytest.mark.parametrize(
    "conn", [fixed_num_post(6, 5, 3, seed=0), fixed_prob(6, 5, 0.5, seed=0)], ids=["fan_out", "csr"]
)
def test_containers_are_immutable_pytrees(conn):
    leaves, tree = jax.tree.flatten(conn)
    again = jax.tree.unflatten(tree, leaves)
    assert type(again) is type(conn)
    assert again.shape == conn.shape == (6, 5)
    assert jax.jit(lambda c: c)(conn).n_post == 5
    assert jax.jit(lambda c: c.indices.sum())(conn) == np.asarray(conn.indices).sum()
    with pytest.raises(AttributeError, match="immutable"):
        conn.n_post = 7
    assert "shape=(6, 5)" in repr(conn)


ROW = np.array([[0, 2], [1, 1]])
WRONG = {
    "no sources": (
        lambda: fixed_num_post(0, 5, 1, seed=0),
        ValueError,
        "n_pre=0 must be",
    ),
    "no targets": (lambda: fixed_prob(5, 0, 0.1, seed=0), ValueError, "n_post=0 must be"),
    "negative k": (lambda: fixed_num_post(5, 5, -1, seed=0), ValueError, "k=-1 must be"),
    "float size": (
        lambda: fixed_num_post(5.0, 5, 1, seed=0),
        TypeError,
        "n_pre=5.0 must be",
    ),
    "bool size": (lambda: fixed_num_post(True, 5, 1, seed=0), TypeError, "must be an integer"),
    "huge size": (lambda: fixed_num_post(5, 2**31, 1, seed=0), ValueError, "int32"),
    "negative seed": (lambda: fixed_num_post(5, 5, 1, seed=-1), ValueError, "seed=-1 must lie"),
    "float seed": (lambda: fixed_num_post(5, 5, 1, seed=1.5), TypeError, "seed=1.5 must be"),
    "too many": (
        lambda: fixed_num_post(5, 5, 6, seed=0, allow_multapses=False),
        ValueError,
        "k=6 different targets cannot be had from 5.*allow_multapses=True",
    ),
    "too many without self": (
        lambda: fixed_num_post(5, 5, 5, seed=0, allow_multapses=False, allow_autapses=False),
        ValueError,
        "from 4 .*without the source itself",
    ),
    "only self": (
        lambda: fixed_num_post(1, 1, 1, seed=0, allow_autapses=False),
        ValueError,
        "leaves source 0 no target",
    ),
    "percentage": (lambda: fixed_prob(5, 5, 10, seed=0), ValueError, "p=10.0 .*divide by 100"),
    "negative p": (lambda: fixed_prob(5, 5, -0.1, seed=0), ValueError, r"p=-0.1 .*\[0, 1\]"),
    "nan": (lambda: fixed_prob(5, 5, float("nan"), seed=0), ValueError, "p=nan"),
    "p of None": (lambda: fixed_prob(5, 5, None, seed=0), TypeError, "p=None must be a number"),
    "pre out of range": (
        lambda: from_arrays([0, 9, 1], [0, 0, 0], 3, 3),
        ValueError,
        r"pre\[1\] = 9 is outside \[0, 3\).*n_pre",
    ),
    "post negative": (lambda: from_arrays([0, 1], [0, -4], 3, 3), ValueError, r"post\[1\] = -4"),
    "lengths": (
        lambda: from_arrays([0, 1], [0], 3, 3),
        ValueError,
        "pre has 2 synapses",
    ),
    "float pairs": (lambda: from_arrays([0.5], [0], 3, 3), TypeError, "pre has dtype float64"),
    "not sparse": (lambda: from_scipy(np.eye(2)), TypeError, "Use from_dense"),
    "dense rank": (lambda: from_dense(np.ones(3)), ValueError, r"shape \(3,\)"),
    "unsorted row": (
        lambda: FixedFanOut(ROW[:, ::-1], 3),
        ValueError,
        "row 0 .*not sorted",
    ),
    "index too large": (lambda: FixedFanOut(ROW, 2), ValueError, r"indices\[1\] = 2 is outside"),
    "float indices": (lambda: FixedFanOut(ROW * 1.0, 3), TypeError, "dtype float64"),
    "rank": (lambda: FixedFanOut(ROW[0], 3), ValueError, "must have 2 axes"),
    "empty indptr": (lambda: CSR([], [], 3), ValueError, "n_pre . 1 row starts"),
    "indptr end": (lambda: CSR([0, 1], [0, 1], 3), ValueError, "from 0 to nnz = 2"),
    "indptr falls": (
        lambda: CSR([0, 2, 1, 2], [0, 1], 3),
        ValueError,
        "from 2 to 1 at row 1",
    ),
    "csr unsorted": (lambda: CSR([0, 1, 3], [2, 1, 0], 3), ValueError, "row 1 .*1 comes before 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_named(case):
    call, error, text = WRONG[case]
    with pytest.raises(error, match=text):
        call()


def test_containers_accept_lists_and_empty_rows():
    conn = CSR([0, 0, 2, 2], [0, 4], n_post=5)
    assert conn.shape == (3, 5)
    assert conn.indptr.dtype == np.int32
    assert CSR([0], [], n_post=0).shape == (0, 0)
    assert FixedFanOut(np.zeros((0, 3), np.int64), n_post=4).shape == (0, 4)


def test_memory_is_refused_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 10_000_000)
    with pytest.raises(MemoryError, match=r"100000 x 80 synapses need 0.032 GB, but 0.01 GB"):
        fixed_num_post(100_000, 1000, 80, seed=0)
    with pytest.raises(MemoryError, match="about 8000000 synapses"):
        fixed_prob(100_000, 1000, 0.08, seed=0)


def test_more_synapses_than_int32_counts_need_x64(monkeypatch):
    monkeypatch.setattr(base, "LARGEST_INT32", 1000)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        fixed_prob(100, 100, 0.5, seed=0)
