"""Loads the compiled libraries and registers every kernel that they list."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Kernel(NamedTuple):
    """What the library says of one of its XLA targets."""

    name: str
    platform: str
    model: str
    state: tuple[str, ...]
    params: tuple[str, ...]
    inputs: tuple[str, ...]


PACKAGE = __name__.rpartition(".ops.")[0]


class LibraryError(ImportError):
    """The compiled kernels are missing, or do not fit the installed jaxlib."""


@functools.cache
def native():
    """The compiled module. Raises `LibraryError`, which says what to do, if it cannot be used."""
    try:
        module = importlib.import_module(f"{PACKAGE}._native")
    except ImportError as error:
        raise LibraryError(
            f"spikexla's compiled kernels could not be loaded ({error}). Reinstall the package "
            "with `pip install --force-reinstall spikexla`, or choose the pure JAX path with "
            "sx.backend('xla') or SPIKEXLA_BACKEND=xla."
        ) from error
    check_ffi_version(tuple(module.ffi_version), runtime_ffi_version())
    try:
        module.simd_level()  # chooses the level, by SPIKEXLA_SIMD if it is set
    except RuntimeError as error:
        raise LibraryError(str(error)) from None
    return module


@functools.cache
def native_cuda():
    """The compiled CUDA module, or None where the package was built without it, which is normal.

    Raises `LibraryError` if it is there and cannot be used: calls on a GPU would silently be slow.
    """
    if importlib.util.find_spec(f"{PACKAGE}._native_cuda") is None:
        return None
    try:
        module = importlib.import_module(f"{PACKAGE}._native_cuda")
    except ImportError as error:
        raise LibraryError(
            f"spikexla's CUDA kernels could not be loaded ({error}). Reinstall the package on this "
            "machine, without them if it has no GPU: SPIKEXLA_CUDA=OFF pip install "
            "--force-reinstall --no-binary spikexla spikexla. Or choose the pure JAX path with "
            "sx.backend('xla') or SPIKEXLA_BACKEND=xla."
        ) from error
    check_ffi_version(tuple(module.ffi_version), runtime_ffi_version())
    return module


def runtime_ffi_version() -> tuple[int, int]:
    """The XLA FFI version of the installed jaxlib, read from the headers that it ships."""
    spec = importlib.util.find_spec("jaxlib")
    if spec is None or not spec.submodule_search_locations:
        raise LibraryError("jaxlib is not installed. Install it with `pip install jax`.")
    header = Path(spec.submodule_search_locations[0]) / "include/xla/ffi/api/c_api.h"
    text = header.read_text()
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    major, minor = found
    if major is None or minor is None:
        raise LibraryError(f"{header} does not state its FFI version. Reinstall jaxlib.")
    return int(major[1]), int(minor[1])


def check_ffi_version(built: tuple[int, int], runtime: tuple[int, int]) -> None:
    """Refuses a library that this jaxlib would refuse, before it can break all of JAX.

    A rejected CPU target makes every later JAX operation fail with "Unable to initialize backend
    'cpu'", so the question is asked here first.
    """
    if built[0] != runtime[0] or built > runtime:
        raise LibraryError(
            f"spikexla's kernels were built for XLA FFI {built[0]}.{built[1]}, but the installed "
            f"jaxlib speaks {runtime[0]}.{runtime[1]}. Upgrade with `pip install -U jax`, or "
            "rebuild spikexla against this jaxlib: "
            "`pip install --no-build-isolation --force-reinstall .`"
        )


@functools.cache
def kernels() -> dict[tuple[str, str], Kernel]:
    """Every kernel of both libraries by (name, platform), registered with XLA."""
    table = {}
    cuda = native_cuda()
    for row in (*native().kernels(), *(cuda.kernels() if cuda else ())):
        jax.ffi.register_ffi_target(row["name"], row["handler"], platform=row["platform"])
        fields = (tuple(row[part].split()) for part in ("state", "params", "inputs"))
        table[row["name"], row["platform"]] = Kernel(
            row["name"], row["platform"], row["model"], *fields
        )
    return table


def register() -> None:
    """Registers the kernels with XLA, for programs that were compiled or exported elsewhere.

    Where the libraries cannot be used, what needs them says why.
    """
    with contextlib.suppress(LibraryError):
        kernels()


def default_device() -> Any:
    """The device on which JAX makes arrays and computes, unless told otherwise."""
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices(backend=chosen)[0]


def default_platform() -> str:
    """The platform of that device, as `platforms` names it."""
    name = default_device().platform
    return "cuda" if name == "gpu" else name


@functools.cache
def has(name: str) -> bool:
    """Whether any platform has the kernel `name`."""
    return any(known == name for known, _ in kernels())


@functools.cache
def platforms(name: str) -> tuple[str, ...]:
    """The platforms, as `jax.lax.platform_dependent` names them, that have the kernel `name`."""
    found = tuple(platform.lower() for known, platform in kernels() if known == name)
    if not found:
        raise LibraryError(
            f"the compiled library has no kernel {name!r}. It is older than this Python code: "
            "reinstall spikexla, or use sx.backend('xla')."
        )
    return found
