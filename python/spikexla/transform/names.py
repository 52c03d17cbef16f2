"""What code names, and whose code it is."""

from __future__ import annotations

import dis
import functools
import sys
import types
from typing import Any

# Objects of the standard library that are no data: what they hold is not compared.
NO_DATA = ["_thread", "threading", "logging", "_io", "io", "_queue", "queue", "asyncio"]
NO_DATA += ["multiprocessing", "socket"]
# Of these the content is where Python cannot see it.
HIDDEN = ["torch", "pandas", "polars", "h5py", "zarr", "tensorstore", "tensorflow", "cupy"]

# Of these a setting is no setting of a model: their code and classes are taken as constant.
_NAMES = """
jax jaxlib numpy scipy spikexla saiunit brainunit brainstate brainevent brainpy optax flax equinox
chex orbax haiku diffrax ml_dtypes matplotlib pandas h5py tqdm torch sklearn IPython ipykernel
pytest _pytest hypothesis rich nanobind
"""
_LIBRARIES = frozenset(_NAMES.split()) | (sys.stdlib_module_names - {"__main__"})
_OF_EVERY_CLASS = """
__dict__ __weakref__ __module__ __qualname__ __doc__ __slots__ __abstractmethods__ _abc_impl
__annotations__ __annotate__ __orig_bases__ __parameters__ __firstlineno__ __static_attributes__
__dataclass_fields__ __dataclass_params__ __match_args__ __annotations_cache__ __annotate_func__
"""


class Imported:
    """Finds the module that a function imports by this name when it runs."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, _: Any) -> Any:
        return sys.modules.get(self.name)


def slots_of(kind: type) -> tuple[str, ...]:
    """The names of slots that Python classes declare."""
    found: list[str] = []
    for c in kind.__mro__:
        slots = c.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


def root_of(x: Any) -> str:
    return (getattr(x, "__module__", None) or "").partition(".")[0]


def is_library_name(name: str) -> bool:
    return name.partition(".")[0] in _LIBRARIES


def is_library(x: Any) -> bool:
    return root_of(x) in _LIBRARIES


@functools.lru_cache(maxsize=4096)
def named_in(code: types.CodeType) -> tuple[tuple[str, ...], frozenset[str], tuple[str, ...]]:
    """The names of globals, attributes and imports in the code and in functions defined in it."""
    names: dict[str, dict[str, None]] = {"GLOBAL": {}, "ATTR": {}, "IMPORT": {}}
    for instruction in dis.get_instructions(code):
        what = instruction.opname
        if what in ("LOAD_GLOBAL", "LOAD_NAME"):
            names["GLOBAL"][instruction.argval] = None
        elif what in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            names["ATTR"][instruction.argval] = None
        elif what == "IMPORT_NAME":
            names["IMPORT"][instruction.argval] = None
    globals_, attributes, imported = (dict(found) for found in names.values())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = named_in(constant)
            globals_ |= dict.fromkeys(inner[0])
            attributes |= dict.fromkeys(inner[1])
            imported |= dict.fromkeys(inner[2])
    wanted = tuple(name for name in imported if not is_library_name(name))
    return tuple(globals_), frozenset(attributes), wanted


def own_names(x: type) -> tuple[str, ...]:
    """The attributes of a class and of what it inherits, but for those of libraries."""
    names = [name for c in x.__mro__ if not is_library(c) for name in vars(c)]
    return tuple(dict.fromkeys(name for name in names if name not in _OF_EVERY_CLASS.split()))
