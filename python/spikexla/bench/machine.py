"""What the figures were measured on: the processor, the versions, and how fast memory copies."""

from __future__ import annotations

import functools
import os
import platform
import statistics
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..ops import library

SMALLEST, LARGEST = 2**20, 2**29  # bytes; below, a copy measures Python, above, it is all DRAM
PACKAGES = ("spikexla", "jax", "jaxlib", "numpy")


def describe() -> dict[str, Any]:
    """The machine and the software, as the JSON files state them."""
    device = jax.devices()[0]
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "simd": library.native().simd_level(),
        "thread_limit": library.native().thread_limit(),
        "device": f"{device.platform}: {device.device_kind}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "malloc": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def copy_bandwidth(moved: float) -> float | None:
    """Bytes per second of copying that touches `moved` bytes, read and written, on all cores.

    Measured once per run and per power of two, so that a working set that fits a cache is held
    against that cache and not against DRAM. None where the arrays do not live in this memory.
    """
    if jax.devices()[0].platform != "cpu":
        return None
    size = int(min(max(moved, SMALLEST), LARGEST))
    return _copy(1 << (size - 1).bit_length())


@functools.cache
def _copy(moved: int) -> float:
    """The median of several timings; each thread copies its own part again and again."""
    threads = cores()
    part = max(1, moved // 2 // threads)
    repeats = max(1, 2**28 // moved)
    pairs = [(np.ones(part, np.uint8), np.zeros(part, np.uint8)) for _ in range(threads)]

    def work(pair, gate):
        gate.wait()
        for _ in range(repeats):
            np.copyto(pair[1], pair[0])  # memcpy, without the interpreter lock
        gate.wait()

    rates = []
    for _ in range(5):
        gate = threading.Barrier(threads + 1)
        pool = [threading.Thread(target=work, args=(pair, gate)) for pair in pairs]
        for thread in pool:
            thread.start()
        gate.wait()
        start = time.perf_counter()
        gate.wait()
        rates.append(2 * part * threads * repeats / (time.perf_counter() - start))
        for thread in pool:
            thread.join()
    return statistics.median(rates)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
