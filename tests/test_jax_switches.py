"""Under each of JAX's switches the package does what it does without: one row a switch."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx

FLOAT = jnp.float32


def eager_step():
    net, x = sx.LIF(3, tau=10.0, V_th=1.0), jnp.array([20.0, 30.0, 5.0], FLOAT)
    net(x)
    return lambda: [net(x), net.V.value]


def training_step():
    """A loop in time, its gradient, and an optimiser's step."""
    net = sx.nn.init_all_states(sx.LIF(3, tau=10.0, V_th=1.0))
    readout = sx.Linear(2, 3, w_init=jnp.full((2, 3), 8.0, FLOAT))
    weights = readout.states(sx.ParamState)
    optimizer = sx.optim.Adam(lr=1e-2)
    optimizer.register_trainable_weights(weights)
    xs = jnp.arange(8, dtype=FLOAT).reshape(4, 2)

    def loss():
        sx.nn.reset_all_states(net)
        return jnp.sum(sx.transform.for_loop(lambda x: net(readout(x)), xs)) + jnp.sum(net.V.value)

    gradient = sx.transform.grad(loss, weights)
    optimizer.update(gradient())

    def run():
        optimizer.update(gradient())
        return jax.tree.leaves(readout.weight.value)

    return run


def simulations():
    """By the engine and by the loop, which agree."""
    nets = [sx.COBANet(300, seed=1) for _ in range(2)]

    def run():
        for net, backend in zip(nets, ("native", "xla"), strict=True):
            assert sx.simulate(net, 0.5, backend=backend).steps == 5
        for a, b in zip(*(net.states().values() for net in nets), strict=True):
            np.testing.assert_allclose(a.value, b.value, rtol=1e-5, atol=1e-5)
        return []

    return run


REPRESENTATIVES = {
    "eager step": eager_step,
    "training step": training_step,
    "simulations": simulations,
}
SWITCHES = {
    "disable_jit": lambda: jax.disable_jit(),
    "enable_x64": lambda: jax.enable_x64(True),
    "debug_nans": lambda: jax.debug_nans(True),
    "check_tracer_leaks": lambda: jax.checking_leaks(),
    "numpy_dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "numpy_rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "default_prng_impl": lambda: jax.default_prng_impl("rbg"),
}


def results(make):
    return [np.asarray(x) for x in make()()]


expected = functools.cache(lambda name: results(REPRESENTATIVES[name]))


@pytest.mark.sampled(10)
@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_it_works_the_same_under_a_switch(name, switch, dt):
    if (name, switch) == ("simulations", "check_tracer_leaks"):
        pytest.skip("a conductance output holds its last tracer until the next step of its loop")
    expected(name)
    with SWITCHES[switch]():
        found = results(REPRESENTATIVES[name])
    for x, y in zip(found, expected(name), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_the_engine_leaks_no_tracer(dt):
    with jax.checking_leaks():
        assert sx.simulate(sx.COBANet(301, seed=1), 0.5).path == "network_run"


def test_what_a_seed_gives_does_not_depend_on_the_default_generator():
    with jax.default_prng_impl("rbg"):
        found = sx.COBANet(500, seed=1).N.V.value
    np.testing.assert_array_equal(found, sx.COBANet(500, seed=1).N.V.value)


@pytest.mark.parametrize("name", ["eager step", "training step"])
def test_a_step_whose_arrays_are_on_the_device_transfers_nothing(name, dt):
    run = REPRESENTATIVES[name]()
    with jax.transfer_guard("disallow"):
        found = run()
    for x, y in zip(found, expected(name), strict=True):
        np.testing.assert_array_equal(x, y)


def test_simulations_and_draws_may_transfer_their_numbers(dt):
    net = sx.COBANet(500, seed=1)
    with jax.transfer_guard("disallow"):
        assert sx.simulate(net, 0.5).steps == 5
        assert sx.random.normal(0.0, 2.0, 3).shape == (3,)


AT_START = """
import json, os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
sys.path.insert(0, sys.argv[1])
import numpy as np, spikexla as sx, test_jax_switches as rows
sx.environ.set(dt=0.1)
print(sx.ops.library.native().simd_level())
found = {name: rows.results(make) for name, make in rows.REPRESENTATIVES.items()}
print(json.dumps({name: [x.tolist() for x in its] for name, its in found.items()}))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one core: Linux only")
def test_one_core_the_simd_baseline_and_another_generator_from_the_start(dt):
    variables = {"SPIKEXLA_SIMD": "baseline", "JAX_DEFAULT_PRNG_IMPL": "rbg"}
    done = subprocess.run(
        [sys.executable, "-c", AT_START, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    level, found = done.stdout.splitlines()
    assert level == "baseline"
    for name, its in json.loads(found).items():
        for x, y in zip(its, expected(name), strict=True):
            np.testing.assert_array_equal(np.asarray(x, y.dtype), y)
