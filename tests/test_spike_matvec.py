"""`spike_matvec` is a matrix product, natively and in JAX: values, order, gradients, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spike_matvec_cases import BACKENDS, CONNS, SOME, in_order, problem, same
from spikexla.connect import CSR, FixedFanOut, fixed_num_post, fixed_prob
from spikexla.ops import library
from spikexla.ops.spike_matvec import Operands, dense, spike_matvec


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.mark.sampled(30)
@pytest.mark.parametrize("scalar", [True, False], ids=["one weight", "weights"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2), (0,)], ids=str)
@pytest.mark.parametrize("name", CONNS)
def test_native_adds_in_the_order_of_the_contract(name, batch, scalar, dtype):
    conn, weights, spikes, init = problem(name, dtype, batch, scalar=scalar)
    y = spike_matvec(conn, weights, spikes, init=init, backend="native")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, in_order(conn, weights, np.asarray(spikes), init))
    fresh = spike_matvec(conn, weights, spikes, backend="native")
    np.testing.assert_array_equal(
        fresh, in_order(conn, weights, np.asarray(spikes), np.zeros_like(init))
    )


@pytest.mark.sampled(16)
@pytest.mark.parametrize("scalar", [True, False], ids=["one weight", "weights"])
@pytest.mark.parametrize("batch", [(), (2, 2)], ids=str)
@pytest.mark.parametrize("name", CONNS)
def test_reference_is_the_same_sum(name, batch, scalar, dtype):
    conn, weights, spikes, init = problem(name, dtype, batch, scalar=scalar)
    f = jax.jit(lambda w, s, y: spike_matvec(conn, w, s, init=y, backend="xla"))
    y = f(weights, spikes, init)
    assert y.dtype == dtype
    same(y, in_order(conn, weights, np.asarray(spikes), init), dtype, 30)


@pytest.mark.parametrize("density", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SOME)
def test_bool_spikes_are_ones(name, backend, density):
    conn, weights, spikes, init = problem(name, "float32", (2,), density=density)
    fired = spikes != 0
    a = spike_matvec(conn, weights, fired, init=init, backend=backend)
    b = spike_matvec(conn, weights, fired.astype("float32"), init=init, backend=backend)
    np.testing.assert_array_equal(a, b)
    assert a.dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_zeros_are_skipped_and_nothing_else_is(backend):
    conn = FixedFanOut(np.array([[0], [1], [2], [3]]), 5)
    weights = jnp.array([[jnp.inf], [2.0], [3.0], [jnp.nan]])
    spikes = jnp.array([-0.0, jnp.nan, -1.0, 0.0])
    y = spike_matvec(conn, weights, spikes, backend=backend)
    np.testing.assert_array_equal(y, [0.0, np.nan, -3.0, 0.0, 0.0])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("dtype_of_spikes", ["float32", "float64", "bool"])
@pytest.mark.parametrize("sizes", [(70_000, 300), (300, 70_000), (200_000, 90_000)])
def test_threads_do_not_change_a_bit(sizes, dtype_of_spikes):
    n_pre, n_post = sizes
    fan = 4_000_000 // n_pre // 10
    native, rng = library.native(), np.random.default_rng(3)
    conns = [
        fixed_num_post(n_pre, n_post, fan, seed=1),
        fixed_prob(n_pre, n_post, min(1.0, fan / n_post), seed=1),
    ]
    before = native.thread_limit()
    with jax.enable_x64(dtype_of_spikes == "float64"):
        fired = jnp.asarray(rng.random(n_pre) < 0.4)
        spikes = fired if dtype_of_spikes == "bool" else fired.astype(dtype_of_spikes) * 1.1
        dtype = np.float32 if dtype_of_spikes == "bool" else spikes.dtype
        init = jnp.asarray(rng.normal(size=n_post), dtype)
        for conn in conns:
            weights = jnp.asarray(rng.normal(size=conn.indices.shape), dtype)

            def run(w, s, conn=conn, init=init):
                y = spike_matvec(conn, w, s, init=init, backend="native")
                if s.dtype == np.bool_:
                    return y, jax.grad(lambda w: jnp.vdot(spike_matvec(conn, w, s), y))(w)
                return y, jax.grad(lambda w, s: jnp.vdot(spike_matvec(conn, w, s), y), (0, 1))(w, s)

            for w in (weights, jnp.asarray(0.3, dtype)):
                results = []
                try:
                    for threads in (1, 2, 5):
                        native.set_thread_limit(threads)
                        results.append(jax.tree.map(np.asarray, run(w, spikes)))
                finally:
                    native.set_thread_limit(before)
                for other in results[1:]:
                    jax.tree.map(np.testing.assert_array_equal, results[0], other)


@pytest.mark.sampled(18)
@pytest.mark.parametrize("scalar", [True, False], ids=["one weight", "weights"])
@pytest.mark.parametrize("batch", [(), (2, 2)], ids=str)
@pytest.mark.parametrize("name", CONNS)
def test_native_gradients_are_those_of_the_dense_product(name, batch, scalar, dtype):
    conn, weights, spikes, init = problem(name, dtype, batch, scalar=scalar)
    cotangent = jnp.cos(jnp.arange(init.size, dtype=dtype)).reshape(init.shape)

    def loss(weights, spikes, init):
        y = spike_matvec(conn, weights, spikes, init=init, backend="native")
        return jnp.vdot(y, cotangent)

    def dense_loss(weights, spikes, init):
        o = Operands(getattr(conn, "indptr", None), conn.indices, weights, spikes, None)
        return jnp.vdot(init + dense(conn.n_post, o), cotangent)

    ours, theirs = (
        jax.jit(jax.grad(f, (0, 1, 2)))(weights, spikes, init) for f in (loss, dense_loss)
    )
    jax.tree.map(lambda a, b: same(a, b, dtype, 300), ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_result_dtype_follows_weights_and_init(backend):
    with jax.enable_x64(True):
        conn, _, spikes, init = problem("csr", "float32")
        wide = jnp.ones(conn.indices.shape, "float64")

        def run(*a, **k):
            return spike_matvec(conn, *a, backend=backend, **k).dtype

        assert run(0.5, spikes) == np.float32
        assert run(1, spikes.astype("float64")) == np.float64
        assert run(0.5, spikes != 0) == np.float64
        assert run(0.5, spikes != 0, init=init) == np.float32
        assert run(wide, spikes) == np.float64
        assert run(np.float32(0.5), spikes.astype("float64")) == np.float32
        assert run(wide, spikes, init=init) == np.float64


def test_reference_takes_half_precision():
    conn, weights, spikes, _ = problem("csr", "float32")
    y = spike_matvec(conn, weights.astype("bfloat16"), spikes, backend="xla")
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
def test_init_broadcasts_over_the_batch_and_the_other_way_round(backend):
    conn, weights, spikes, init = problem("csr", "float32", (3,))
    one, many = init[0], init
    a = spike_matvec(conn, weights, spikes, init=one, backend=backend)
    b = spike_matvec(conn, weights, spikes, init=jnp.stack([one] * 3), backend=backend)
    np.testing.assert_array_equal(a, b)
    c = spike_matvec(conn, weights, spikes[0], init=many, backend=backend)
    d = spike_matvec(conn, weights, jnp.stack([spikes[0]] * 3), init=many, backend=backend)
    np.testing.assert_array_equal(c, d)


CONN = fixed_num_post(6, 4, 2, seed=0)
WRONG = {
    "spikes shape": (
        (CONN, 1.0, np.ones(4, "f")),
        ValueError,
        r"shape \(4,\).*6 sources",
    ),
    "spikes rank": ((CONN, 1.0, np.float32(1)), ValueError, r"spikes have shape \(\)"),
    "spikes dtype": ((CONN, 1.0, np.ones(6, int)), TypeError, "spikes have dtype int.*bool"),
    "weights shape": (
        (CONN, np.ones(6, "f"), np.ones(6, "f")),
        ValueError,
        r"\(6, 2\), one a syn",
    ),
    "weights dtype": (
        (CONN, np.ones((6, 2), int), np.ones(6, "f")),
        TypeError,
        "sums of weights",
    ),
    "half": (
        (CONN, np.ones((6, 2), "float16"), np.ones(6, "f")),
        TypeError,
        "float16. Cast them, or use backend='xla'",
    ),
    "init shape": (
        (CONN, 1.0, np.ones(6, "f"), np.ones(6, "f")),
        ValueError,
        r"shape \(6,\)",
    ),
    "backend": ((CONN, 1.0, np.ones(6, "f"), None, "cuda"), ValueError, "cuda"),
    "dense": ((np.eye(6), 1.0, np.ones(6, "f")), TypeError, "ndarray.*from_dense"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_named(case):
    (conn, weights, spikes, *rest), error, text = WRONG[case]
    init, backend = (*rest, None, "native")[:2] if len(rest) < 2 else rest
    with pytest.raises(error, match=text):
        spike_matvec(conn, weights, spikes, init=init, backend=backend)


@pytest.mark.parametrize(
    "bad", [[[0, 99], [0, 1]], [[-5, 1], [0, 1]], [[0, 1], [0, 2**30]]], ids=["high", "low", "far"]
)
def test_a_traced_row_that_leaves_memory_is_an_error_and_not_a_crash(bad):
    @jax.jit
    def run(indices, spikes):
        return spike_matvec(FixedFanOut(indices, 4), 1.0, spikes, backend="native")

    with pytest.raises(jax.errors.JaxRuntimeError, match="target outside"):
        run(jnp.asarray(bad, jnp.int32), jnp.ones(2)).block_until_ready()


def test_traced_row_starts_that_leave_memory_are_an_error_and_not_a_crash():
    @jax.jit
    def run(indptr, spikes):
        conn = CSR(indptr, jnp.zeros(3, jnp.int32), 4)
        return spike_matvec(conn, 1.0, spikes, backend="native")

    for bad in ([0, 10**9, 3], [0, -7, 3], [0, 2, 10**9]):
        with pytest.raises(jax.errors.JaxRuntimeError, match="row of source"):
            run(jnp.asarray(bad, jnp.int32), jnp.ones(2)).block_until_ready()


@pytest.mark.parametrize("backend", BACKENDS)
def test_row_starts_may_have_64_bits(backend):
    narrow, weights, spikes, init = problem("csr", "float32")
    with jax.enable_x64(True):
        wide = CSR(np.asarray(narrow.indptr, np.int64), narrow.indices, narrow.n_post)
        assert wide.indptr.dtype == np.int64

        def value_and_grads(conn):
            def loss(w, s):
                return (spike_matvec(conn, w, s, init=init, backend=backend) ** 2).sum()

            return jax.jit(jax.value_and_grad(loss, (0, 1)))(weights, spikes)

        jax.tree.map(np.testing.assert_array_equal, value_and_grads(wide), value_and_grads(narrow))
