"""Products that are added in JAX are rounded first, as kernels round them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.ops.rounded import rounded

SIZES = (1, 2, 17, 33)  # a scalar, less than a register, one more than one, and two


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [(), ("w",), ("d",), ("d", "w")], ids=str)
def test_a_sum_of_rounded_products_is_numpys(dtype, constant):
    """g d + w k, where LLVM knows some factors; k is a whole number, so it knows of no NaN."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        cases = [
            {"g": rng.normal(size=(50, n)), "d": np.full(n, 0.98), "w": rng.random(n)}
            for n in SIZES
        ]
        cases = [{k: x.astype(dtype) for k, x in case.items()} for case in cases]
        counts = [rng.integers(0, 9, (50, n)).astype(np.int32) for n in SIZES]
        known = [{name: case[name] for name in constant} for case in cases]

        @jax.jit
        def sums(rows):
            return [
                rounded(row["g"] * row["d"]) + rounded(row["w"] * row["k"].astype(dtype))
                for row in (given | its for given, its in zip(rows, known, strict=True))
            ]

        for t in range(50):
            rows = [
                case | {"g": case["g"][t], "k": k[t]} for case, k in zip(cases, counts, strict=True)
            ]
            for row, got in zip(rows, sums(rows), strict=True):
                want = row["g"] * row["d"] + row["w"] * row["k"].astype(dtype)
                np.testing.assert_array_equal(got, want)


def test_special_values_and_the_slope_pass():
    x = jnp.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3.0])
    np.testing.assert_array_equal(rounded(x), x)
    np.testing.assert_array_equal(np.signbit(rounded(x)), np.signbit(x))
    np.testing.assert_array_equal(jax.grad(lambda x: rounded(2 * x[-1:]).sum())(x)[-1], 2.0)
    assert rounded(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("n", SIZES)
def test_poisson_input_of_the_engine_has_the_bits_of_a_loop_by_hand(n):
    sx.environ.set(dt=0.1)

    class Net(sx.nn.Module):
        def __init__(self):
            super().__init__()
            self.N = sx.LIF(n, tau=20.0, V_th=40.0)
            weight = np.linspace(0.1, 0.7, n).astype(np.float32)
            syn, out = sx.Expon.desc(n, tau=5.0), sx.CUBA.desc(scale=1.0)
            self.P = sx.PoissonInput(
                rate=800.0, num=10, weight=weight, seed=3, post=self.N, syn=syn, out=out
            )

        def update(self):
            self.P()
            return self.N()

    engine, by_hand = Net(), Net()
    assert sx.simulate(engine, 20.0).path == "network_run"
    sx.transform.jit(lambda: sx.transform.for_loop(lambda i: by_hand(), jnp.arange(200)))()
    for got, want in zip(engine.states().values(), by_hand.states().values(), strict=True):
        np.testing.assert_array_equal(got.value, want.value)
