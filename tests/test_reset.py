"""The reset op: values in the shapes and types of their buffers, some trials or all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.ops import reset

DTYPES = [jnp.float32, jnp.int8, jnp.bool_, jnp.bfloat16, jnp.complex64]
MASKS = {"all": None, "some": [True, False, True], "none": [False] * 3}
both_backends = pytest.mark.parametrize("backend", ["native", "xla"])
every_mask = pytest.mark.parametrize("mask", MASKS)


def wanted(buffers, values, mask):
    mask = np.ones(3, bool) if mask is None else np.array(mask)
    for b, v in zip(buffers, values, strict=True):
        full = np.broadcast_to(np.asarray(v).astype(b.dtype), b.shape)
        yield np.where(mask.reshape(-1, *(1,) * (b.ndim - 1)), full, np.asarray(b))


@both_backends
@every_mask
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_every_way_to_broadcast(dtype, mask, backend):
    rng = np.random.default_rng(0)
    shapes = [(3,), (3, 1), (3, 5), (3, 0), (3, 4, 5), (3, 4, 5), (3, 4, 5)]
    given = [(), (), (5,), (), (4, 5), (4, 1), (3, 4, 5)]
    buffers = [jnp.asarray(rng.integers(0, 2, shape), dtype) for shape in shapes]
    values = [jnp.asarray(rng.integers(0, 2, shape), dtype) for shape in given]
    found = reset(buffers, values, mask=MASKS[mask], backend=backend)
    for x, b, want in zip(found, buffers, wanted(buffers, values, MASKS[mask]), strict=True):
        assert x.dtype == b.dtype
        np.testing.assert_array_equal(x, want)


@both_backends
def test_it_maps_loops_and_donates(backend):
    def both(a, v, mask):
        return reset([a, a], [v, 2.0], mask=mask, backend=backend)

    a, v = jnp.arange(12.0).reshape(4, 3), jnp.arange(4.0)
    mask = jnp.array([[True, False, True]] * 4)
    mapped = jax.vmap(both)(a, v, mask)
    for k in range(4):
        for x, want in zip(mapped, both(a[k], v[k], mask[k]), strict=True):
            np.testing.assert_array_equal(x[k], want)
    last, _ = jax.lax.scan(lambda c, _: (both(c, 1.0, None)[0], None), a, None, length=3)
    np.testing.assert_array_equal(last, 1.0)
    donated = jax.jit(lambda x: both(x, 1.0, None)[0], donate_argnums=0)(jnp.zeros((64, 64)))
    np.testing.assert_array_equal(donated, 1.0)


@every_mask
def test_gradients_flow_to_values_where_set_and_to_buffers_elsewhere(mask):
    counts = jnp.arange(3)

    def loss(buffers, values, backend):
        buffers = [*buffers, counts]  # whole numbers have no gradient and do not stand in the way
        x, y, _ = reset(buffers, [*values, 0], mask=MASKS[mask], backend=backend)
        return (x * jnp.arange(15.0).reshape(3, 5)).sum() + (y**2).sum()

    operands = [jnp.ones((3, 5)), jnp.ones(3)], [jnp.arange(5.0), jnp.float32(3.0)]
    native, xla = (
        jax.jit(jax.grad(lambda *o, b=b: loss(*o, b), (0, 1)))(*operands) for b in ("native", "xla")
    )
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(xla), strict=True):
        np.testing.assert_allclose(a, b)
    with pytest.raises(TypeError, match="backend='xla'"):
        jax.jvp(lambda v: loss(operands[0], [v, 1.0], "native"), operands[1][:1], operands[1][:1])


BAD = {
    "too few values": (lambda b: reset(b, []), ValueError, "1 buffers but 0 values"),
    "value too wide": (lambda b: reset(b, [jnp.ones(3)]), ValueError, "value 0 has shape (3,)"),
    "value too deep": (lambda b: reset(b, [jnp.ones((2, 3, 4))]), ValueError, "value 0 has shape"),
    "short mask": (lambda b: reset(b, [0.0], mask=[True]), ValueError, "mask has shape (1,)"),
    "square mask": (lambda b: reset(b, [0.0], mask=[[True]]), ValueError, "mask has shape (1, 1)"),
    "trials by number": (lambda b: reset(b, [0.0], mask=[0, 2, 1]), TypeError, "is bool"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named(case):
    call, error, message = BAD[case]
    with pytest.raises(error) as raised:
        call([jnp.ones((3, 4))])
    assert message in str(raised.value)


def test_nothing_is_nothing():
    assert reset([], []) == []
