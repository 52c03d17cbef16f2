"""`spike_matvec` under every transformation of JAX, natively and in pure JAX."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from spike_matvec_cases import BACKENDS, SOME, in_order, problem, same
from spikexla.connect import fixed_num_post, fixed_prob
from spikexla.ops.call import native_call
from spikexla.ops.spike_matvec import Operands, spike_matvec


@pytest.mark.sampled(1)
@pytest.mark.parametrize("scalar", [True, False], ids=["one weight", "weights"])
@pytest.mark.parametrize("name", SOME)
def test_reference_differentiates_in_every_mode(name, scalar):
    with jax.enable_x64(True):
        conn, weights, spikes, init = problem(name, "float64", (2,), scalar=scalar)

        @jax.jit
        def f(weights, spikes, init):
            return jnp.sin(spike_matvec(conn, weights, spikes, init=init, backend="xla")).sum()

        # Central differences of a sum of 400 terms carry about this error.
        check_grads(f, (weights, spikes, init), order=2, modes=("fwd", "rev"), rtol=1e-3)


@pytest.mark.parametrize("name", SOME)
def test_fallbacks_are_what_the_kernels_do(name):
    """Platforms without a kernel run these; here they are held against it."""
    module = importlib.import_module("spikexla.ops.spike_matvec")
    conn, weights, spikes, _ = problem(name, "float32", (2,))
    operands = Operands(getattr(conn, "indptr", None), conn.indices, weights, spikes, None)
    dy = jnp.cos(jnp.arange(2.0 * conn.n_post)).reshape(2, -1)
    held = []

    def both(target, args, results, *, reference, attributes, in_place=0):
        out = native_call(
            target, args, results, reference=reference, attributes=attributes, in_place=in_place
        )
        held.append((target, jax.tree.map(np.asarray, (out, tuple(reference(*args))))))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "native_call", both)
        for o in (operands, operands._replace(weights=jnp.float32(0.5))):
            module._forward.__wrapped__(conn.n_post, o)
            module._spikes_vjp.__wrapped__(conn.n_post, o, dy)
            module._weights_vjp.__wrapped__(conn.n_post, o, dy)
    assert len({target for target, _ in held}) == 3
    for _, (ours, theirs) in held:
        jax.tree.map(lambda a, b: same(a, b, "float32", 300), ours, theirs)


@pytest.mark.parametrize("name", SOME)
def test_native_refuses_what_it_cannot_differentiate(name):
    conn, weights, spikes, _ = problem(name, "float32")

    def f(s):
        return (spike_matvec(conn, weights, s, backend="native") ** 2).sum()

    for derivative in (lambda: jax.jvp(f, (spikes,), (spikes,)), lambda: jax.hessian(f)(spikes)):
        with pytest.raises(TypeError, match="backend='xla'"):
            derivative()


# Which axis of (weights, spikes, init) is mapped; "none": there is no init.
MAPPED = [(None, 0, 0), (None, 1, None), (0, None, None), (0, 0, 0), (None, 0, "none")]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("axes", "scalar"), [*((a, False) for a in MAPPED), (MAPPED[2], True)], ids=str
)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SOME)
def test_vmap_is_a_stack_of_calls(name, backend, axes, scalar):
    conn, weights, spikes, init = problem(name, "float32", (2,), scalar=scalar)
    size, with_init = 3, axes[2] != "none"
    axes = tuple(a if a != "none" else None for a in axes)
    operands = [
        x if axis is None else jnp.stack([x * (k + 1) for k in range(size)], axis)
        for x, axis in zip((weights, spikes, init), axes, strict=True)
    ]

    def f(weights, spikes, init):
        init = init if with_init else None
        return spike_matvec(conn, weights, spikes, init=init, backend=backend)

    def f_and_grads(*operands):
        return f(*operands), jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1))(*operands)

    one, many = jax.jit(f_and_grads), jax.jit(jax.vmap(f_and_grads, axes))
    rows = [
        one(*(x if a is None else jnp.take(x, k, a) for x, a in zip(operands, axes, strict=True)))
        for k in range(size)
    ]
    stacked = jax.tree.map(lambda *r: jnp.stack(r), *rows)
    jax.tree.map(lambda a, b: same(a, b, "float32", 3000), many(*operands), stacked)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SOME)
def test_nested_vmap_and_grad_of_vmap(name, backend):
    conn, weights, spikes, _ = problem(name, "float32", (3, 2))

    def loss(w, s):
        per_item = jax.vmap(jax.vmap(lambda s: spike_matvec(conn, w, s, backend=backend)))(s)
        return (per_item**2).sum()

    def explicit(w, s):
        return (spike_matvec(conn, w, s, backend="xla") ** 2).sum()

    ours, theirs = (jax.jit(jax.grad(f, (0, 1)))(weights, spikes) for f in (loss, explicit))
    jax.tree.map(lambda a, b: same(a, b, "float32", 300), ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_over_connectivity(backend):
    many = [fixed_num_post(20, 10, 3, seed=k) for k in range(4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *many)
    spikes = jnp.asarray(np.random.default_rng(0).random(20) < 0.5)
    ours = jax.vmap(lambda c: spike_matvec(c, 0.5, spikes, backend=backend))(stacked)
    rows = jnp.stack([spike_matvec(c, 0.5, spikes, backend=backend) for c in many])
    np.testing.assert_array_equal(ours, rows)


def compiled_text(f, *args):
    return jax.jit(f).lower(*args).compile().as_text()


def test_vmap_copies_neither_weights_nor_connectivity():
    conn, weights, spikes, _ = problem("fan_out", "float32", (64,))
    text = compiled_text(
        jax.vmap(lambda c, w, s: spike_matvec(c, w, s, backend="native"), (None, None, 0)),
        conn,
        weights,
        spikes,
    )
    assert "custom-call" in text
    assert "[64,100,9]" not in text


def test_an_accumulation_loop_updates_in_place():
    conn, weights, spikes, init = problem("fan_out", "float32")

    def loop(conn, weights, spikes, init):
        def step(y, s):
            return spike_matvec(conn, weights, s, init=y, backend="native"), None

        return jax.lax.scan(step, init, jnp.stack([spikes] * 5))[0]

    text = compiled_text(loop, conn, weights, spikes, init)
    assert "output_to_operand_aliasing" in text
    loop_body = [line for line in text.splitlines() if " copy(" in line and "f32[70]" in line]
    assert len(loop_body) <= 1  # the start value, outside the loop
    expected = init
    for _ in range(5):
        expected = in_order(conn, weights, np.asarray(spikes), expected)
    np.testing.assert_array_equal(loop(conn, weights, spikes, init), expected)


def test_donation_reuses_init_and_a_live_init_survives():
    conn, weights, spikes, init = problem("csr", "float32")

    def f(init):
        return spike_matvec(conn, weights, spikes, init=init, backend="native")

    expected, before = np.asarray(f(init)), np.array(init)
    np.testing.assert_array_equal(init, before)
    np.testing.assert_array_equal(jax.jit(f)(init), expected)
    np.testing.assert_array_equal(init, before)
    donated = jnp.array(before)
    where = donated.unsafe_buffer_pointer()
    y = jax.jit(f, donate_argnums=0)(donated)
    np.testing.assert_array_equal(y, expected)
    assert y.unsafe_buffer_pointer() == where


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SOME)
def test_scan_and_remat_have_the_gradients_of_a_plain_loop(name, backend):
    conn = (
        fixed_num_post(30, 30, 4, seed=0) if name == "fan_out" else fixed_prob(30, 30, 0.1, seed=0)
    )
    weights = jnp.asarray(np.random.default_rng(0).normal(size=conn.indices.shape), "float32") / 4
    x = jnp.asarray(np.random.default_rng(1).random((5, 30)), "float32")

    def step(w, h, x):
        return jnp.tanh(spike_matvec(conn, w, jnp.maximum(h, 0), init=x, backend=backend))

    def scanned(w, x):
        body = jax.checkpoint(lambda h, x: (step(w, h, x), None))
        return jax.lax.scan(body, x[0], x)[0].sum()

    def plain(w, x):
        h = x[0]
        for row in x:
            h = step(w, h, row)
        return h.sum()

    ours, theirs = (jax.jit(jax.grad(f, (0, 1)))(weights, x) for f in (scanned, plain))
    jax.tree.map(lambda a, b: same(a, b, "float32", 10), ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shard_map_splits_the_batch_and_sums_the_gradient(backend):
    conn, weights, spikes, init = problem("csr", "float32", (4,))
    devices = min(2, jax.device_count())
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    def loss(conn, w, s, y):
        y = spike_matvec(conn, w, s, init=y, backend=backend)
        return jax.lax.psum((y**2).sum(), "data")

    sharded = jax.shard_map(
        loss, mesh=mesh, in_specs=(spec(), spec(), spec("data"), spec("data")), out_specs=spec()
    )

    def plain(conn, w, s, y):
        return (spike_matvec(conn, w, s, init=y, backend="xla") ** 2).sum()

    ours, theirs = (
        jax.jit(jax.grad(f, (1, 2)))(conn, weights, spikes, init) for f in (sharded, plain)
    )
    jax.tree.map(lambda a, b: same(a, b, "float32", 300), ours, theirs)
