"""Every compiled neuron kernel does what its reference does: values, gradients, batching, cuts."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, RTOL64
from compiled_models import NAMES
from jax.sharding import Mesh, PartitionSpec
from other_models import CASE
from spikexla import surrogate as surrogates
from spikexla.ops import kernels, neuron_scan, neuron_step
from spikexla.ops.library import native

LENGTHS = [0, 1, 2, 31, 32, 33, 100]
LANES = [(), (0,), (1,), (31,), (33,), (257,), (3, 300)]
SURROGATES = [surrogates.make(name, 0.7, 1.3) for name in surrogates.NAMES]
every_case = pytest.mark.parametrize("case", [*CASES, CASE], ids=str)
# A law of the loops and not of the equations: the plainest, the richest, and one of another kind.
unlike_cases = pytest.mark.parametrize("case", [CASES[0], CASES[-1], CASE], ids=str)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
every_reset = pytest.mark.parametrize("reset", ["soft", "hard"])


@pytest.fixture(autouse=True)
def x64(other_models):
    """Both float types in one process, and the model of the how-to beside those of the package."""
    jax.config.update("jax_enable_x64", True)


def cotangents(tree, seed=1):
    """Random arrays like the leaves of `tree`."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), tree)


def scan_and_vjp(case, backend, **options):
    """A jitted (state, params, inputs) -> (results, their vjp for fixed random cotangents)."""

    @jax.jit
    def run(*operands):
        out, pull = jax.vjp(
            lambda *o: neuron_scan(case.kernel, *o, backend=backend, **options), *operands
        )
        return out, pull(cotangents(out))

    return run


def loss(case, backend, **options):
    """A smooth function of the last state and of the spikes."""

    def value(state, params, inputs):
        last, spikes = neuron_scan(case.kernel, state, params, inputs, backend=backend, **options)
        weights = jnp.cos(jnp.arange(spikes.size, dtype=spikes.dtype)).reshape(spikes.shape)
        return jnp.sum(weights * spikes) + jnp.sum(jnp.sin(last.V / 10))

    return value


def assert_same(got, want, rtol=0.0):
    """Equal leaves; `rtol` is relative to the largest entry of a leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert g.shape == w.shape
        assert g.dtype == w.dtype
        g, w = np.asarray(g), np.asarray(w)
        size = np.abs(w).max() if w.size else 0.0
        np.testing.assert_allclose(g, w, rtol=0, atol=rtol * size)


def assert_like_reference(case, operands, *, dtype, **options):
    """Spikes are equal; states and gradients agree to the case's tolerance."""
    (state, spikes), grads = scan_and_vjp(case, "native", **options)(*operands)
    (want, want_spikes), want_grads = scan_and_vjp(case, "xla", **options)(*operands)
    np.testing.assert_array_equal(spikes, want_spikes)
    rtol = RTOL64 if dtype == np.float64 else case.rtol
    assert_same(state, want, rtol)
    assert_same(grads, want_grads, rtol)


def test_every_neuron_kernel_has_a_case():
    own = {k.model for k in kernels().values() if k.model} - {*NAMES}
    assert own == {str(c) for c in CASES}


@every_case
def test_the_drive_makes_spikes_and_silence(case):
    _, spikes = neuron_scan(case.kernel, *case.draw(33, 100), backend="xla")
    assert 0.01 < spikes.mean() < 0.5


@pytest.mark.sampled(12)
@every_case
@every_dtype
@pytest.mark.parametrize("steps", LENGTHS)
def test_any_length_agrees_with_the_reference(case, dtype, steps):
    assert_like_reference(case, case.draw(33, steps, dtype=dtype), dtype=dtype)


@pytest.mark.sampled(8)
@unlike_cases
@every_dtype
@pytest.mark.parametrize("lanes", LANES, ids=str)
def test_any_lanes_agree_with_the_reference(case, dtype, lanes):
    operands = case.draw(lanes, 33, dtype=dtype, spread=0.02)
    assert_like_reference(case, operands, dtype=dtype)


@pytest.mark.sampled(5)
@every_case
@every_reset
@pytest.mark.parametrize("spread", [0.0, 0.02], ids=["shared", "own"])
def test_resets_and_parameters_agree_with_the_reference(case, reset, spread):
    operands = case.draw(33, 40, reset=reset, spread=spread)
    assert_like_reference(case, operands, dtype=np.float64, reset=reset)


@pytest.mark.sampled(8)
@every_case
@pytest.mark.parametrize("surrogate", SURROGATES, ids=surrogates.NAMES)
def test_every_surrogate_agrees_with_the_reference(case, surrogate):
    assert_like_reference(case, case.draw(9, 40), dtype=np.float64, surrogate=surrogate)


@pytest.mark.sampled(3)
@every_case
def test_operands_that_repeat_are_broadcast(case):
    """Parameters per batch row, one input without time, one state for all."""
    state, params, inputs = case.draw((3, 20), 12, spread=0.02)
    state = jax.tree.map(lambda x: x[0], state)
    first, *_, last = params
    params = params._replace(**{params._fields[0]: first[:, :1], params._fields[-1]: last[0]})
    if len(inputs) > 1:
        inputs = inputs._replace(**{inputs._fields[-1]: inputs[-1][0, 0, 0]})
    got = neuron_scan(case.kernel, state, params, inputs, backend="native")
    want = neuron_scan(case.kernel, state, params, inputs, backend="xla")
    assert got[1].shape == (12, 3, 20)
    assert_same(got, want, RTOL64)
    got = jax.grad(loss(case, "native"), (0, 1, 2))(state, params, inputs)
    want = jax.grad(loss(case, "xla"), (0, 1, 2))(state, params, inputs)
    assert_same(got, want, RTOL64)


@every_case
@every_reset
def test_one_step_is_a_scan_of_length_one(case, reset):
    state, params, inputs = case.draw(33, 20, reset=reset)
    want = neuron_scan(case.kernel, state, params, inputs, reset=reset, backend="native")
    step = jax.jit(lambda *o: neuron_step(case.kernel, *o, reset=reset, backend="native"))
    spikes = []
    for t in range(20):
        state, z = step(state, params, jax.tree.map(lambda x: x[t], inputs))  # noqa: B023
        spikes.append(z)
    assert_same((state, jnp.stack(spikes)), want)


@unlike_cases
@pytest.mark.parametrize("steps", [1, 6])
def test_results_too_large_for_a_cache_have_the_same_bits(case, steps):
    """Spikes of 32 MiB and more are stored past the caches, into pages that the threads share."""
    pieces = 6_000 // steps
    small = case.draw(1501, steps, dtype=np.float32, spread=0.02)

    def repeat(x):
        return jnp.tile(x, pieces) if x.shape else x

    last, spikes = neuron_scan(case.kernel, *jax.tree.map(repeat, small), backend="native")
    assert spikes.nbytes > 2**25
    want_last, want_spikes = neuron_scan(case.kernel, *small, backend="native")
    assert_same((last, spikes), jax.tree.map(repeat, (want_last, want_spikes)))


@unlike_cases
def test_jit_changes_no_bit(case):
    operands = case.draw(33, 20)
    run = functools.partial(neuron_scan, case.kernel, backend="native")
    assert_same(jax.jit(run)(*operands), run(*operands))
    grad = jax.grad(loss(case, "native"), (0, 1, 2))
    assert_same(jax.jit(grad)(*operands), grad(*operands), 1e-14)


@unlike_cases
def test_steps_inside_lax_scan_have_the_gradient_of_the_scan(case):
    operands = case.draw(17, 24)

    def stepwise(state, params, inputs):
        def body(state, now):
            return neuron_step(case.kernel, state, params, now, backend="native")

        last, spikes = jax.lax.scan(body, state, inputs)
        weights = jnp.cos(jnp.arange(spikes.size, dtype=spikes.dtype)).reshape(spikes.shape)
        return jnp.sum(weights * spikes) + jnp.sum(jnp.sin(last.V / 10))

    got = jax.jit(jax.grad(stepwise, (0, 1, 2)))(*operands)
    assert_same(got, jax.grad(loss(case, "native"), (0, 1, 2))(*operands), RTOL64)


@unlike_cases
@pytest.mark.parametrize("parts", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_vmap_is_a_stack_of_calls(case, parts):
    draws = [case.draw(7, 10, spread=0.02, seed=k) for k in range(3)]
    shared = draws[0]
    rows = [[d[k] if k in parts else shared[k] for k in range(3)] for d in draws]
    run = functools.partial(neuron_scan, case.kernel, backend="native")
    want = jax.tree.map(lambda *x: jnp.stack(x), *(run(*r) for r in rows))
    stacked = [
        jax.tree.map(lambda *x: jnp.stack(x), *(d[k] for d in draws)) if k in parts else shared[k]
        for k in range(3)
    ]
    axes = [0 if k in parts else None for k in range(3)]
    assert_same(jax.vmap(run, axes)(*stacked), want)


@unlike_cases
@pytest.mark.parametrize("field", [0, 1])
def test_vmap_over_one_parameter_or_one_input(case, field):
    state, params, inputs = case.draw(7, 10)

    def run(p, x):
        return neuron_scan(case.kernel, state, p, x, backend="native")

    operand = (params, inputs)[field]
    name, x = operand._fields[-field], operand[-field]
    rows = jnp.stack([x, 1.2 * x, 0.8 * x])

    def one(row):
        changed = operand._replace(**{name: row})
        return run(*((changed, inputs) if field == 0 else (params, changed)))

    got, want = jax.vmap(one)(rows), [one(row) for row in rows]
    assert_same(got, jax.tree.map(lambda *x: jnp.stack(x), *want))


@unlike_cases
def test_nested_vmap_is_one_call_on_a_grid(case):
    state, params, inputs = case.draw((2, 3, 5), 8)

    def run(s, x):
        return neuron_scan(case.kernel, s, params, x, backend="native")

    got = jax.vmap(jax.vmap(run, (0, 1), (0, 1)), (0, 1), (0, 1))(state, inputs)
    assert_same(got, run(state, inputs))


@unlike_cases
def test_vmap_of_grad_is_a_stack_of_gradients(case):
    draws = [case.draw(7, 10, seed=k) for k in range(3)]
    params = draws[0][1]
    grad = jax.grad(lambda s, x, p: loss(case, "native")(s, p, x), (0, 1, 2))
    want = jax.tree.map(lambda *x: jnp.stack(x), *(grad(s, x, params) for s, _, x in draws))
    state, _, inputs = jax.tree.map(lambda *x: jnp.stack(x), *draws)
    assert_same(jax.vmap(grad, (0, 0, None))(state, inputs, params), want, RTOL64)


@unlike_cases
def test_grad_of_vmap_sums_over_what_is_shared(case):
    draws = [case.draw(7, 10, seed=k) for k in range(3)]
    params = draws[0][1]
    state, _, inputs = jax.tree.map(lambda *x: jnp.stack(x), *draws)

    def total(backend):
        one = loss(case, backend)
        return lambda s, p, x: jax.vmap(one, (0, None, 0))(s, p, x).sum()

    got = jax.grad(total("native"), (0, 1, 2))(state, params, inputs)
    assert_same(got, jax.grad(total("xla"), (0, 1, 2))(state, params, inputs), RTOL64)


@unlike_cases
def test_remat_changes_no_gradient(case):
    operands = case.draw(17, 24)
    plain = jax.jit(jax.grad(loss(case, "native"), (0, 1, 2)))(*operands)
    again = jax.jit(jax.grad(jax.checkpoint(loss(case, "native")), (0, 1, 2)))(*operands)
    assert_same(again, plain, 1e-14)


@pytest.mark.sampled(4)
@unlike_cases
@pytest.mark.parametrize("every", [1, 3, 16, 1000])
def test_checkpoints_change_no_gradient(case, every):
    operands = case.draw(17, 40)
    one = scan_and_vjp(case, "native", checkpoint_every=40)(*operands)
    assert_same(scan_and_vjp(case, "native", checkpoint_every=every)(*operands), one)


@pytest.mark.sampled(16)
@unlike_cases
@every_dtype
@every_reset
@pytest.mark.parametrize("cut", [0, 1, 37, 60])
def test_cutting_a_run_in_two_changes_nothing(case, dtype, reset, cut):
    state, params, inputs = case.draw(33, 60, dtype=dtype, reset=reset)

    def run(s, x):
        return neuron_scan(case.kernel, s, params, x, reset=reset, backend="native")

    last, whole = run(state, inputs)
    middle, first = run(state, jax.tree.map(lambda x: x[:cut], inputs))
    end, rest = run(middle, jax.tree.map(lambda x: x[cut:], inputs))
    assert_same((end, jnp.concatenate([first, rest])), (last, whole))


@unlike_cases
def test_an_empty_run_passes_state_and_gradient_through(case):
    state, params, inputs = case.draw(5, 0)
    last, spikes = neuron_scan(case.kernel, state, params, inputs, backend="native")
    assert spikes.shape == (0, 5)
    assert_same(last, state)
    slope = jax.grad(
        lambda s: neuron_scan(case.kernel, s, params, inputs, backend="native")[0].V.sum()
    )
    np.testing.assert_array_equal(slope(state).V, np.ones(5))


@unlike_cases
def test_a_donated_state_is_updated_in_place(case):
    state, params, inputs = case.draw(4096, 1, dtype=np.float32)
    now = jax.tree.map(lambda x: x[0], inputs)
    step = jax.jit(lambda *o: neuron_step(case.kernel, *o, backend="native"), donate_argnums=0)
    text = step.lower(state, params, now).compile().as_text()
    assert "input_output_alias" in text
    copies = [line for line in text.splitlines() if " copy(" in line and "f32[4096]" in line]
    assert not copies, "\n".join(copies)


@unlike_cases
def test_a_state_in_a_loop_is_not_copied_each_turn(case):
    state, params, inputs = case.draw(4096, 4, dtype=np.float32)

    def run(state, inputs):
        def body(s, x):
            return neuron_step(case.kernel, s, params, x, backend="native")

        return jax.lax.scan(body, state, inputs)

    text = jax.jit(run, donate_argnums=0).lower(state, inputs).compile().as_text()
    body = text.split("ENTRY")[0]
    copies = [line for line in body.splitlines() if " copy(" in line and "f32[4096]" in line]
    assert not copies, "\n".join(copies)


def sharded(case, backend):
    """The total loss over lanes split between two devices."""
    mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
    lanes, time = PartitionSpec("d"), PartitionSpec(None, "d")

    def part(state, params, inputs):
        last, spikes = neuron_scan(case.kernel, state, params, inputs, backend=backend)
        return jax.lax.psum(spikes.sum() + jnp.sin(last.V / 10).sum(), "d"), last, spikes

    return jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(lanes, PartitionSpec(), time),
        out_specs=(PartitionSpec(), lanes, time),
    )


@pytest.mark.sampled(1)
@unlike_cases
def test_sharded_equals_unsharded(case):
    assert jax.device_count() >= 2, "conftest.py asks for two CPU devices"
    state, params, inputs = case.draw(64, 20)
    want = neuron_scan(case.kernel, state, params, inputs, backend="native")
    for run in (sharded(case, "native"), jax.jit(sharded(case, "native"))):
        _, last, spikes = run(state, params, inputs)
        assert_same((last, spikes), want)


@pytest.mark.sampled(1)
@unlike_cases
def test_a_replicated_parameter_gets_its_gradient_from_every_shard(case):
    operands = case.draw(64, 20)
    got = jax.jit(jax.grad(lambda *o: sharded(case, "native")(*o)[0], (0, 1, 2)))(*operands)

    def whole(state, params, inputs):
        last, spikes = neuron_scan(case.kernel, state, params, inputs, backend="xla")
        return spikes.sum() + jnp.sin(last.V / 10).sum()

    assert_same(got, jax.grad(whole, (0, 1, 2))(*operands), RTOL64)


@unlike_cases
def test_the_number_of_threads_changes_no_bit(case):
    operands = case.draw(4096, 16, dtype=np.float32)
    wide = (
        *jax.tree.map(lambda x: jnp.tile(x, 16) if x.ndim else x, operands[:2]),
        jax.tree.map(lambda x: jnp.tile(x, (1, 16)), operands[2]),
    )
    run = scan_and_vjp(case, "native")
    results = []
    try:
        for threads in (1, 2):
            native().set_thread_limit(threads)
            results.append(jax.block_until_ready(run(*wide)))
    finally:
        native().set_thread_limit(0)
    assert_same(*results)


def test_an_unwanted_gradient_costs_no_memory():
    """A gradient in the state alone asks the kernel for no (time, lanes) array of others."""
    case = CASES[0]
    state, params, inputs = case.draw(64, 50, dtype=np.float32)
    grad = jax.grad(lambda s: loss(case, "native")(s, params, inputs))
    text = jax.jit(grad).lower(state).compile().as_text()
    calls = [line for line in text.splitlines() if "backward.v1" in line and "custom-call(" in line]
    assert calls
    assert all("f32[50,64]" not in line.split("custom-call(")[0] for line in calls)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("lanes", [(), (1,), (20,)], ids=str)
def test_vmap_over_a_surrogate_gives_each_item_its_own(lanes):
    case = CASES[0]
    state, params, inputs = case.draw(lanes, 12)

    def slope_sum(alpha, backend):
        spike = surrogates.Sigmoid(alpha)
        run = jax.grad(loss(case, backend, surrogate=spike), argnums=2)
        return sum(x.sum() for x in run(state, params, inputs))

    alphas = jnp.array([0.3, 0.5, 0.9, 1.4])
    got = jax.vmap(lambda a: slope_sum(a, "native"))(alphas)
    assert len(np.unique(np.asarray(got))) == 4
    np.testing.assert_allclose(got, jax.vmap(lambda a: slope_sum(a, "xla"))(alphas), rtol=RTOL64)
