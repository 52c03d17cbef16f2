"""Two CPU devices, warnings as errors; every test leaves the settings as they were."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import zlib

os.environ["JAX_NUM_CPU_DEVICES"] = "2"  # before jax is imported
os.environ["SPIKEXLA_POISON"] = "1"  # what a kernel leaves out of its results is NaN

import jax
import pytest
import spikexla as sx
from compiled_models import other_kernels, other_models  # noqa: F401
from cuda_on_host import host_kernels, instead, on_host  # noqa: F401
from spikexla import config as _config
from spikexla.config import forget_warnings
from spikexla.ops import library


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "sampled(n): cases of a long table that always run")
    gc.freeze()  # what is imported stays; looking through it again and again takes a minute
    gc.set_threshold(20_000, 20, 20)
    keep_programs(config)
    for module in ("brainunit", "saiunit"):  # these warn about themselves when they are imported
        config.addinivalue_line("filterwarnings", f"ignore::DeprecationWarning:{module}")
        config.addinivalue_line("filterwarnings", f"ignore::FutureWarning:{module}")
        config.addinivalue_line("filterwarnings", f"ignore::UserWarning:{module}")


def keep_programs(config: pytest.Config) -> None:
    """XLA's programs are kept beside pytest's own notes: two thirds of the time go into compiling.

    Workers share them, and the next run has them all; kernels are called by name, so a program
    serves any build of them. A worker may read what another has not written to its end: that is a
    warning and a compilation.
    """
    if getattr(config, "cache", None) is None:  # -p no:cacheprovider
        return
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    config.addinivalue_line("filterwarnings", "ignore:Error (read|writ)ing persistent compilation")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="all cases of every table of tests")


def pytest_report_header(config: pytest.Config) -> str:
    whole = "" if config.getoption("whole") else "; of long tables a fixed part (--whole: all)"
    return f"jax {jax.__version__}{whole}"


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `sampled(n)`, n stay, which are the same on every machine."""
    tables: dict[tuple, list[pytest.Item]] = {}
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            tables.setdefault((item.path, item.originalname, *mark.args), []).append(item)
    out: set[pytest.Item] = set()
    for (_, _, most), cases in tables.items():
        out.update(sorted(cases, key=lambda case: zlib.crc32(case.name.encode()))[most:])
    config.hook.pytest_deselected(items=[item for item in items if item in out])
    items[:] = [item for item in items if item not in out]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Parallel workers must find the same tests, so no name may hold an address or a set."""
    changes = re.compile(r" at 0x|\{[^:}]+, [^:}]+\}")
    changing = [item.nodeid for item in items if changes.search(item.nodeid)]
    if changing:
        raise pytest.UsageError(f"give the cases of {changing[0]} ids that do not change")
    if not config.getoption("whole"):
        leave_out(config, items)


@pytest.fixture(autouse=True)
def settings_as_they_were():
    """A fixed seed and an empty environment for each test; what it changes is undone."""
    switches = {name: getattr(_config, name) for name in ("strict", "strict_units", "cache_eager")}
    backend, x64 = sx.backend.current(), jax.config.jax_enable_x64
    sx.environ.reset()
    sx.random.seed(0)
    forget_warnings()
    yield
    sx.environ.reset()
    sx.backend(backend)
    jax.config.update("jax_enable_x64", x64)
    for name, value in switches.items():
        setattr(_config, name, value)
    forget_warnings()


@pytest.fixture
def dt():
    """A time step of 0.1 ms."""
    sx.environ.set(dt=0.1)
    return 0.1


@pytest.fixture
def threads_as_they_were(monkeypatch):
    """`--threads` sets variables and the limit of the kernels for the whole process."""
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.setenv(name, "2")
        monkeypatch.delenv(name)
    yield
    with contextlib.suppress(library.LibraryError):  # kernels that are not built
        library.native().set_thread_limit(0)


@pytest.fixture(
    params=["run", "run.pkl", "run.safetensors"], ids=["folder", "pickle", "safetensors"]
)
def path(request, tmp_path):
    """Where a checkpoint is saved: one of each kind."""
    return tmp_path / request.param


@pytest.fixture(params=["one pass", "public names only"])
def tracing(request, monkeypatch):
    """With and without the private hook of tracing: the results are the same."""
    trace = sx.transform.trace
    if request.param == "one pass":
        assert trace.ONE_PASS
    else:
        monkeypatch.setattr(trace, "ONE_PASS", False)
        monkeypatch.setattr(trace, "_trace_ctx", None)
