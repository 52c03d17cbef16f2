"""Every check of this project, runnable at home: `nox -s lint types native tests docs wheel bench`.

`.ci/run` calls these same sessions. With `nox --no-venv` they use the environment that is active.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "native", "tests", "docs", "wheel"]
ROOT = Path(__file__).parent
PYTHON = ["python", "tests", "examples", "bench", "noxfile.py"]

# What depends on the versions of Python and jax: the tests of all that calls functions of jax by
# itself, which are its laws of random numbers, its transforms, its ffi, its switches. The rest
# calls these parts, and was tested with the oldest.
VERSIONED = [
    str(path.relative_to(ROOT))
    for name in (
        *("library", "neuron_kernels", "neuron_errors", "spike_matvec", "state", "transform_*"),
        *("random", "init", "optim*", "schedulers", "checkpoint"),
        *("ops_call", "reset", "ahead", "jax_switches", "switches"),
    )
    for path in sorted((ROOT / "tests").glob(f"test_{name}.py"))
]


def install(session: nox.Session, *what: str) -> None:
    """Installs into the session's own environment; an active one is taken as it is."""
    if session.virtualenv.is_sandboxed:
        session.install(*what)


def present(paths: list[str]) -> list[str]:
    return [path for path in paths if (ROOT / path).exists()]


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and of C++."""
    install(session, "ruff>=0.11", "clang-format>=19")
    session.run("ruff", "check", *present(PYTHON))
    session.run("ruff", "format", "--check", *present(PYTHON))
    sources = [
        str(path.relative_to(ROOT))
        for folder in ("csrc", "cuda")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".h", ".cc", ".cu", ".cuh")
    ]
    session.run("clang-format", "--dry-run", "--Werror", *sources)


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the package."""
    install(session, ".[all]", "basedpyright>=1.29")
    session.run("basedpyright", "--level", "error", "--pythonpath", session_python(session))


@nox.session
def native(session: nox.Session) -> None:
    """The C++ tests, with no Python in the way."""
    install(session, "cmake>=3.24", "ninja>=1.11", "jaxlib==0.10.2")
    build = "build/native-tests"
    session.run(
        "cmake", "-S", ".", "-B", build, "-G", "Ninja", "-DSPIKEXLA_TESTS=ON",
        "-DSPIKEXLA_CUDA=OFF", f"-DPython_EXECUTABLE={session_python(session)}",
    )  # fmt: skip
    session.run("cmake", "--build", build)
    session.run("ctest", "--test-dir", build, "--output-on-failure")


@nox.session
def cuda(session: nox.Session) -> None:
    """The CUDA kernels compile, for one architecture; without nvcc this says so and goes on."""
    if not shutil.which("nvcc"):
        session.skip("no nvcc on PATH: the CUDA kernels were not compiled")
    install(session, "cmake>=3.24", "ninja>=1.11", "jaxlib==0.10.2", "nanobind>=2.9")
    python = session_python(session)
    nanobind = session.run(python, "-m", "nanobind", "--cmake_dir", silent=True).strip()
    build = "build/cuda"
    session.run(
        "cmake", "-S", ".", "-B", build, "-G", "Ninja", "-DSKBUILD=ON", "-DSPIKEXLA_CUDA=ON",
        "-DSPIKEXLA_CUDA_ARCHS=90-real", f"-DPython_EXECUTABLE={python}",
        f"-Dnanobind_DIR={nanobind}",
    )  # fmt: skip
    session.run("cmake", "--build", build, "--target", "_native_cuda")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests with every case of their tables, against the installed package."""
    install(session, ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "--whole", "tests", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Looks for cases that break a law, for 60 s: `nox -s fuzz -- --seconds 3600 --seed 7`."""
    install(session, ".[test]")
    session.run("python", "tests/fuzz/run.py", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """All native code under ASan and UBSan, its C++ tests under TSan; `-- --full`: every case."""
    install(session, ".[test]", "cmake>=3.24", "ninja>=1.11", "nanobind>=2.9")
    if not (sys.platform == "linux" and shutil.which("gcc")):
        session.skip("no gcc on Linux: its sanitizers were not run")
    for kind in ("address,undefined", "thread"):
        sanitized(session, kind, session.posargs)


def sanitized(session: nox.Session, kind: str, options: list[str]) -> None:
    """Builds the native tests with these sanitizers and runs them; with ASan also the module.

    jaxlib is built without TSan, to which whatever its threads hand over would be a race.
    """
    python, tool = session_python(session), kind.partition(",")[0]
    nanobind = session.run(python, "-m", "nanobind", "--cmake_dir", silent=True).strip()
    module = "ON" if tool == "address" else "OFF"
    build = ROOT / "build" / "sanitize" / tool
    levels = "OFF" if "--full" in options else "ON"
    session.run(
        "cmake", "-S", ".", "-B", str(build), "-G", "Ninja", f"-DSKBUILD={module}",
        "-DSPIKEXLA_TESTS=ON", "-DSPIKEXLA_CUDA=OFF", f"-DSPIKEXLA_SANITIZE={kind}",
        f"-DSPIKEXLA_BASELINE_ONLY={levels}",
        f"-DPython_EXECUTABLE={python}", f"-Dnanobind_DIR={nanobind}",
    )  # fmt: skip
    session.run("cmake", "--build", str(build))
    env = {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1"}
    session.run("ctest", "--test-dir", str(build), "--output-on-failure", env=env)
    if tool == "thread":
        return
    package = build / "package" / "spikexla"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "spikexla", package)
    for library in build.glob("_native.*.so"):
        shutil.copy(library, package)
    # The runtime of a sanitizer must be there before Python's own libraries.
    env |= {
        "LD_PRELOAD": " ".join(
            gcc_library(session, f"lib{name}.so") for name in ("asan", "stdc++")
        ),
        "PYTHONPATH": f"{package.parent}:{ROOT / 'tests'}",
        "JAX_PLATFORMS": "cpu",
        "SPIKEXLA_POISON": "1",
    }
    session.run(python, "tests/sanitize/check.py", *options, env=env)


def gcc_library(session: nox.Session, name: str) -> str:
    return session.run("gcc", f"-print-file-name={name}", silent=True, external=True).strip()


@nox.session
def docs(session: nox.Session) -> None:
    """Every fenced block of the README and of docs/ runs, and so does every example."""
    install(session, ".[test]")
    session.run("python", "-m", "pytest", "tests/test_docs.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """A wheel, installed in a clean environment with the newest jax, passes the tests there."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    env = {"SPIKEXLA_CUDA": "OFF"}
    session.run("python", "-m", "pip", "wheel", "--no-deps", "-w", "dist", ".", env=env)
    (built,) = (ROOT / "dist").glob("spikexla-*.whl")
    install(session, "-U", f"{built}[test]")
    session.run("python", "-c", "import spikexla as sx, jax; print(sx.__name__, jax.__version__)")
    session.run("python", "-m", "pytest", "-n", "auto", *(session.posargs or VERSIONED))


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmark suites at their smallest size: they run, their figures mean nothing."""
    install(session, ".[all]")
    for suite in ("step", "scan", "grad", "reset", "matvec", "network", "state", "levels"):
        session.run("spikexla", "bench", suite, "--quick", *session.posargs)


def session_python(session: nox.Session) -> str:
    """The interpreter of the session's environment, by its full path."""
    path = session.bin if session.virtualenv.is_sandboxed else None
    return shutil.which("python", path=path) or sys.executable
