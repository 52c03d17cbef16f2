"""What the compiled module is asked while a sanitizer watches: `nox -s sanitize` runs this file.

Wrong calls of every handler and of every function of the module, ops of odd shapes, and several
threads that run ops at the same time. A sanitizer ends the process at its first finding.
"""

from __future__ import annotations

import argparse
import threading
import time

import handler_cases
import jax
import jax.numpy as jnp
import numpy as np
import shape_cases
import test_native_arguments
from spikexla.connect import fixed_prob
from spikexla.neuron import lif_step
from spikexla.ops import library, neuron_scan, reset, spike_matvec
from test_handlers import refused_or_run

MODELS = [lif_step.LIF, lif_step.LIF_COBA, lif_step.LIF_REF, lif_step.LIF_REF_COBA]


def handlers(sample: int | None) -> int:
    """Wrong calls of all handlers: `sample` of each right one, or all of them."""
    rng, done = np.random.default_rng(0), 0
    for call in handler_cases.right_calls(MODELS if sample is None else MODELS[-1:]):
        call.run()
        wrong = handler_cases.wrong_calls(call)
        if sample is not None:
            wrong = [wrong[k] for k in rng.choice(len(wrong), sample, replace=False)]
        for what, bad in wrong:
            refused_or_run(bad, what)
        done += 1 + len(wrong)
    return done


def arguments() -> int:
    """Wrong arguments of the module's functions."""
    for what, call in test_native_arguments.WRONG.items():
        try:
            call()
        except ValueError:
            continue
        raise AssertionError(f"{what} was accepted")
    return len(test_native_arguments.WRONG)


def shapes(cases: int) -> int:
    """Ops of odd shapes, which tests/fuzz/fuzz_shapes.py draws."""
    for k in range(cases):
        rng = np.random.default_rng([2, k])
        shape_cases.check(shape_cases.draw(rng), rng)
    return cases


def threads(rounds: int) -> int:
    """Four threads run all ops at the same time, on helpers of one pool; results stay the same."""
    library.native().set_thread_limit(4)
    lif, n = lif_step.LIF, 3000
    params = lif.Params(*map(jnp.float32, (0.1, 1.0, 0.0, 1.0, 0.0, 1.0)))
    current = jax.random.uniform(jax.random.key(0), (40, n)) * 3
    conn, V = fixed_prob(n, n, 0.02, seed=1), jnp.zeros(n)
    weights = jnp.ones(conn.indices.shape)

    def scan(current):
        inputs = lif.Inputs(current, jnp.zeros((1, 1)))
        last, spikes = neuron_scan(lif, lif.State(V), params, inputs, backend="native")
        return last.V.sum() + (spikes * current).sum()

    def matvec(weights, spikes):
        return (spike_matvec(conn, weights, spikes, backend="native") ** 2).sum()

    work = [
        (jax.jit(jax.grad(scan)), (current,)),
        (jax.jit(jax.grad(matvec, (0, 1))), (weights, (current[0] > 2).astype(jnp.float32))),
        (jax.jit(lambda x: reset([x, V], [0.5, current[0]], backend="native")), (current,)),
    ]
    want = [jax.tree.leaves(f(*operands)) for f, operands in work]
    wrong: list[str] = []

    def run(first: int) -> None:
        for k in range(rounds):
            f, operands = work[(first + k) % len(work)]
            got = jax.tree.leaves(f(*operands))
            for a, b in zip(want[(first + k) % len(work)], got, strict=True):
                if not np.array_equal(a, b):
                    wrong.append(f"op {(first + k) % len(work)}")

    running = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong, f"threads got other results: {wrong}"
    return 4 * rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all wrong calls, and more shapes")
    full = parser.parse_args().full
    watched = library.native().__file__
    assert "sanitize" in watched, f"{watched} was built without a sanitizer: use `nox -s sanitize`"
    parts = {
        "wrong calls of handlers": lambda: handlers(None if full else 6),
        "wrong arguments": arguments,
        "shapes": lambda: shapes(200 if full else 4),
        "calls of four threads": lambda: threads(300 if full else 12),
    }
    for what, part in parts.items():
        start = time.monotonic()
        print(f"{part()} {what}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
