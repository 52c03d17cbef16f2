"""network_run on a GPU gives the CPU's bits: its kernels, compiled for the host.

cuda/host/cuda_runtime.h says how. What only a GPU can show, scripts/gpu_smoke.py checks there.
"""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import same_bits
from network_cases import KINDS, SIZES, populations, projections
from spikexla.ops import network_run, wiring
from spikexla.ops.wiring import pack

PORTS = (2, 1, 1)


@pytest.fixture
def sliced(monkeypatch):
    """Cuts networks into that many slices, as for a GPU with so many multiprocessors."""
    return lambda n: monkeypatch.setattr(wiring, "_slices", lambda *_: n)


def run(pops, steps, **options):
    """A function of the packed synapses."""
    return lambda packed: network_run(pops, packed, steps, backend="native", **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_wiring_has_the_same_bits(kind, dtype, sliced, on_host):
    sliced(5)
    packed = pack(SIZES, PORTS, projections(kind), dtype)
    want, got = on_host(run(populations(dtype), 25), packed)
    assert sum(int(np.bitwise_count(r).sum()) for r in want[-3:]) > 150
    same_bits(want, got)
