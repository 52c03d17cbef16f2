"""`spikexla info`: what is installed, what the machine offers, which kernels there are."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from typing import Any

from .options import add_output_options, current_backend, start_jax, threads_in_use

Action = argparse.Action


def add_parser(commands: Any) -> None:
    """Adds `info` to the command line."""
    parser = commands.add_parser(
        "info",
        help="show versions, devices, threads and kernels",
        description="Shows versions, devices, the SIMD level, threads and the kernel table.",
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(options: Any) -> int:
    """Collects the facts and prints them."""
    facts = collect()
    if options.json:
        print(json.dumps(facts))
    else:
        _show(facts)
    return 0


def version(package: str) -> str:
    """The installed version of a package; 'not installed' without one."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def collect() -> dict[str, Any]:
    """Everything that `info` reports, as plain data."""
    from ..ops import library

    packages = ("spikexla", "jax", "jaxlib", "numpy", "brainunit", "optax")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    facts: dict[str, Any] = {
        "versions": versions,
        "backend": current_backend(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in start_jax()],
        "threads": threads_in_use(),
        "ffi": {"runtime": _dotted(library.runtime_ffi_version()), "built": None},
        "simd": {"level": None, "compiled": []},
        "native_error": None,
        "kernels": [],
    }
    try:
        native = library.native()
    except library.LibraryError as error:
        return {**facts, "native_error": str(error)}
    facts["ffi"]["built"] = _dotted(native.ffi_version)
    facts["simd"] = {"level": native.simd_level(), "compiled": list(native.simd_levels())}
    facts["kernels"] = [row._asdict() for row in library.kernels().values()]
    return facts


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _show(facts: dict[str, Any]) -> None:
    simd, ffi = facts["simd"], facts["ffi"]
    rows = [*facts["versions"].items()]
    rows.append(("XLA FFI", f"built {ffi['built'] or '-'}, runtime {ffi['runtime']}"))
    rows.append(("backend", facts["backend"]))
    rows += [("device", device) for device in facts["devices"]]
    rows.append(("SIMD", f"{simd['level'] or '-'} (compiled: {', '.join(simd['compiled'])})"))
    rows.append(("threads", str(facts["threads"])))
    for name, value in rows:
        print(f"{name:<10} {value}")
    if facts["native_error"]:
        print(f"\nno compiled kernels: {facts['native_error']}")
        return
    width = max((len(row["name"]) for row in facts["kernels"]), default=0)
    print(f"\n{'kernel':<{width}}  platform  state | parameters | inputs")
    for row in facts["kernels"]:
        fields = " | ".join(" ".join(row[part]) or "-" for part in ("state", "params", "inputs"))
        print(f"{row['name']:<{width}}  {row['platform']:<8}  {fields}")
