"""Compares every CUDA kernel with its definition in JAX, and with the CPU's kernel bit for bit.

The exceptions are sums by atomic additions. Needs jax and numpy alone, so it runs where pytest and
brainunit are missing.

    python scripts/gpu_smoke.py               on the first GPU
    python scripts/gpu_smoke.py --device cpu  the CPU kernels against themselves: tries the script
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import network_cases
from cases import CASES, RTOL64, Case
from spike_matvec_cases import CONNS, RTOL, problem
from spikexla import environ, network
from spikexla import surrogate as surrogates
from spikexla.ops import (
    library,
    network_run,
    neuron_scan,
    neuron_step,
    reset,
    spike_matvec,
    wiring,
)
from spikexla.ops.network_run import NETWORK_RUN

Check = tuple[str, Callable[[], None]]
CPU = jax.devices("cpu")[0]


def run(device, f, *operands):
    """Leaves of `jit(f)(*operands)`, all on `device`, as numpy arrays."""
    operands = jax.device_put(operands, device)
    with jax.default_device(device):
        return [np.asarray(x) for x in jax.tree.leaves(jax.jit(f)(*operands))]


def same_bits(what: str, got, want) -> None:
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        unlike = np.flatnonzero(g.reshape(-1).view(np.uint8) != w.reshape(-1).view(np.uint8))
        if g.shape != w.shape or unlike.size:
            worst = np.abs(g - w).max() if g.shape == w.shape else "shapes"
            raise AssertionError(
                f"{what}: leaf {k} differs from the CPU's bits, at most by {worst}"
            )


def close(what: str, got, want, rtol: float) -> None:
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        size = np.abs(w).max() if w.size else 0.0
        np.testing.assert_allclose(g, w, rtol=0, atol=rtol * size, err_msg=f"{what}: leaf {k}")


def pulled(f):
    """f's results, and their vjp for fixed random cotangents."""

    def value(*operands):
        out, pull = jax.vjp(f, *operands)
        rng = np.random.default_rng(1)
        return out, pull(
            jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), out)
        )

    return value


def check_neuron(device, case: Case, *, dtype, lanes, steps, spread, scan_options, bits) -> None:
    operands = case.draw(
        lanes, steps, dtype=dtype, reset=scan_options.get("reset", "soft"), spread=spread
    )

    def scan(backend):
        return pulled(lambda *o: neuron_scan(case.kernel, *o, backend=backend, **scan_options))

    got = run(device, scan("native"), *operands)
    if bits:
        same_bits(str(case), got, run(CPU, scan("native"), *operands))
    rtol = RTOL64 if dtype == np.float64 else case.rtol
    close(str(case), got, run(device, scan("xla"), *operands), rtol)


def neuron_checks(device) -> Iterator[Check]:
    base = {"dtype": np.float32, "lanes": 257, "steps": 33, "spread": 0.05, "bits": True}
    variants = {
        "float32 soft": {},
        "float64 hard": {"dtype": np.float64, "scan_options": {"reset": "hard"}},
        "shared parameters": {"spread": 0.0, "lanes": (3, 300), "bits": False},
        "20,000 lanes": {"lanes": 20_000},
        "70,000 lanes": {"lanes": 70_000, "steps": 9},
        "every=1": {"scan_options": {"checkpoint_every": 1}},
        "long segments": {"lanes": 31, "steps": 600, "scan_options": {"checkpoint_every": 290}},
        "no steps": {"steps": 0},
        "one lane": {"lanes": (1,), "steps": 5},
    }
    for case in CASES:
        for name, options in variants.items():
            options = base | {"scan_options": {}} | options
            yield (
                f"{case} {name}",
                lambda case=case, options=options: check_neuron(device, case, **options),
            )
        yield f"{case} vmap", lambda case=case: check_vmap(device, case)
        yield f"{case} steps in a loop", lambda case=case: check_loop(device, case)
    for kind in surrogates.NAMES:
        options = base | {"scan_options": {"surrogate": surrogates.make(kind, 0.7, 1.3)}}
        yield f"lif {kind}", lambda options=options: check_neuron(device, CASES[0], **options)


def check_vmap(device, case: Case) -> None:
    """A state for each item, parameters that all share, an input with the axis last."""
    state, params, inputs = case.draw((4, 50), 20, dtype=np.float32)
    inputs = jax.tree.map(lambda x: jnp.moveaxis(x, 1, -1), inputs)

    def scan(backend):
        return jax.vmap(
            lambda s, x: neuron_scan(case.kernel, s, params, x, backend=backend), in_axes=(0, -1)
        )

    got = run(device, scan("native"), state, inputs)
    same_bits(str(case), got, run(CPU, scan("native"), state, inputs))
    close(str(case), got, run(device, scan("xla"), state, inputs), case.rtol)


def check_loop(device, case: Case) -> None:
    """Steps inside `lax.scan` are the scan: many small calls, which XLA may record as a graph."""
    operands = case.draw(100, 50, dtype=np.float32, spread=0.05)

    def loop(state, params, inputs):
        def step(s, x):
            return neuron_step(case.kernel, s, params, x, backend="native")

        return jax.lax.scan(step, state, inputs)

    whole = functools.partial(neuron_scan, case.kernel, backend="native")
    same_bits(str(case), run(device, loop, *operands), run(CPU, whole, *operands))


def check_matvec(device, name, dtype, batch, *, shared, events) -> None:
    conn, weights, spikes, init = problem(name, dtype, batch, scalar=shared)
    if events:
        spikes = spikes != 0

    def product(backend):
        def f(w, s, i):
            return spike_matvec(conn, w, s, init=i, backend=backend)

        if events:
            return lambda w, s, i: pulled(lambda w, i: f(w, s, i))(w, i)
        return pulled(f)

    operands = (weights, spikes, init)
    got, cpu = (run(d, product("native"), *operands) for d in (device, CPU))
    want = run(device, product("xla"), *operands)
    scale = 100 if shared else 10  # sums of up to thousands of terms, in any order
    close(name, got, want, scale * RTOL[np.dtype(dtype).name])
    if not shared:
        same_bits(f"{name}, d_weights", got[1:2], cpu[1:2])
    if not events:
        same_bits(f"{name}, d_spikes", got[2:3], cpu[2:3])


def matvec_checks(device) -> Iterator[Check]:
    variants = [
        ("float32", (), False, False),
        ("float64", (3,), False, False),
        ("float32", (2, 3), True, False),
        ("float32", (3,), False, True),
    ]
    for name in CONNS:
        for dtype, batch, shared, events in variants:
            yield (
                f"matvec {name} {dtype} {batch}{' shared' * shared}{' events' * events}",
                lambda a=(name, dtype, batch), s=shared, e=events: check_matvec(
                    device, *a, shared=s, events=e
                ),
            )


def check_reset(device, masked: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = [(6,), (6, 1), (6, 33), (6, 5, 7), (6, 0), (6, 4096)] * 10
    dtypes = [np.float32, np.float64, np.int8, np.bool_, np.float16] * 12
    buffers = [jnp.asarray(rng.integers(1, 9, s), d) for s, d in zip(shapes, dtypes, strict=True)]
    values = [b[0] if k % 3 else jnp.zeros((), b.dtype) for k, b in enumerate(buffers)]
    mask = jnp.asarray(rng.random(6) < 0.5) if masked else None
    same_bits(
        "reset",
        run(device, lambda b, v: reset(b, v, mask=mask, backend="native"), buffers, values),
        run(CPU, lambda b, v: reset(b, v, mask=mask, backend="xla"), buffers, values),
    )


def check_every_kernel_is_called(device) -> None:
    """The list of the library is what this file checks; and the lowering does call it."""
    platform = "CUDA" if device.platform != "cpu" else "cpu"
    listed = {name for name, on in library.kernels() if on == platform}
    here = {case.kernel.target(d) for case in CASES for d in ("forward", "backward")}
    here |= {f"spikexla.spike_matvec.{p}.v1" for p in ("forward", "spikes_vjp", "weights_vjp")}
    here |= {"spikexla.reset.v1", NETWORK_RUN}
    if platform == "CUDA" and listed != here:
        raise AssertionError(f"listed and checked kernels differ: {sorted(listed ^ here)}")
    operands = jax.device_put(CASES[0].draw(5, 4, dtype=np.float32), device)
    f = pulled(lambda *o: neuron_scan(CASES[0].kernel, *o, backend="native"))
    text = jax.jit(f).lower(*operands).as_text()
    for direction in ("forward", "backward"):
        assert CASES[0].kernel.target(direction) in text, f"the {direction} kernel is not called"


def check_network(device, make, kind: str, dtype, slices: int) -> None:
    """The CPU's bits, cut into more slices than the CPU would, or fewer."""
    with mock.patch.object(wiring, "_slices", return_value=slices):
        packed = wiring.pack(network_cases.SIZES, (2, 1, 1), network_cases.projections(kind), dtype)

    def whole(packed):
        return network_run(make(dtype), packed, 40, backend="native")

    same_bits(kind, run(device, whole, packed), run(CPU, whole, packed))


def check_simulate(device) -> None:
    """The published networks through `simulate`: the path, and the CPU's spikes."""

    def simulated(on, make):
        with jax.default_device(on), environ.context(dt=0.1):
            net = make(2000, seed=1)
            result = network.simulate(net, 50.0, chunk=20.0)
        assert result.path == "network_run", result.why
        states = [np.asarray(state.value) for state in net.states().values()]
        return [x for s in result.spikes.values() for x in (s.steps, s.ids)] + states

    for make in (network.COBANet, network.CUBANet):
        same_bits(make.__name__, simulated(device, make), simulated(CPU, make))


def network_checks(device) -> Iterator[Check]:
    variants = [(network_cases.populations, kind, np.float32, 11) for kind in network_cases.KINDS]
    variants += [
        (network_cases.populations, "bundled", np.float64, 1),  # inputs beyond shared memory
        (network_cases.rich, "bundled", np.float32, 24),
        (network_cases.rich, "bundled", np.float64, 3),
    ]
    for make, kind, dtype, slices in variants:
        name = f"network {make.__name__} {kind} {np.dtype(dtype).name} {slices} slices"
        yield name, functools.partial(check_network, device, make, kind, dtype, slices)
    yield "network simulate", lambda: check_simulate(device)


def checks(device) -> Iterator[Check]:
    yield "every kernel is called", lambda: check_every_kernel_is_called(device)
    yield from neuron_checks(device)
    yield from matvec_checks(device)
    yield from network_checks(device)
    for masked in (False, True):
        yield f"reset{' masked' * masked}", lambda masked=masked: check_reset(device, masked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="a platform of jax.devices()")
    parser.add_argument("--only", default="", help="run the checks whose name holds this")
    args = parser.parse_args()
    try:
        device = jax.devices(args.device)[0]
    except RuntimeError as error:
        print(f"no device {args.device!r}: {error}")
        return 1
    jax.config.update("jax_enable_x64", True)
    print(
        f"{device.device_kind}; jax {jax.__version__}; {library.native().simd_level()} on the CPU"
    )
    start, passed, failed = time.perf_counter(), 0, []
    for name, check in checks(device):
        if args.only not in name:
            continue
        try:
            check()
            passed += 1
        except Exception:  # a check that breaks must not hide the next
            failed.append(name)
            print(f"FAILED {name}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{passed} passed, {len(failed)} failed in {time.perf_counter() - start:.0f} s")
    for name in failed:
        print(f"  FAILED {name}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
