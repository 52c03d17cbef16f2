"""What the tests of the command line share."""

from __future__ import annotations

import pytest
from spikexla.ops import library

REPORT = {
    "model", "neurons", "synapses", "duration_s", "wall_s", "rtf", "rates_hz", "build_s",
    "compile_s", "backend", "threads", "peak_rss_mb",
}  # fmt: skip
DRAWN = {"cv_isi", "correlation"}  # in the report, where figures are drawn
FILES = ["distributions.png", "raster.png", "report.json", "spikes.h5"]
SMALL = ["--neurons", "400", "--duration", "20ms", "--seed", "3"]


def has_native():
    try:
        library.native()
    except library.LibraryError:
        return False
    return True


BACKENDS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(not has_native(), reason="kernels are not built")
    ),
    "xla",
]


def what_figures_need():
    """Skips a test where a package is missing that --out needs."""
    for name in ("h5py", "matplotlib", "elephant"):
        pytest.importorskip(name, reason=f"{name} is not installed: no --out")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def never(*_, **__):
    raise AssertionError("the simulation was started")


def denied(*_, **__):
    raise PermissionError(13, "Permission denied")


def no_kernels():
    raise library.LibraryError("kernels could not be loaded; choose sx.backend('xla')")


def raiser(error):
    def fail(*_, **__):
        raise error

    return fail
