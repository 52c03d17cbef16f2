"""`install()`: code written for brainstate, brainpy.state and braintools runs on this package.

`import brainstate`, `import brainpy as bp`, `import braintools.init as init` then give modules with
the names of `spikexla`. `brainunit` is not touched: it is used as it is.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import types
from typing import Any

# Where the names of each module are looked up, in this order; "" is spikexla itself. A module of
# spikexla that is not there (yet) is left out.
ALIASES: dict[str, tuple[str, ...]] = {
    "brainstate": ("", "state"),
    "brainstate.environ": ("environ",),
    "brainstate.nn": ("nn", "dynamics"),
    "brainstate.random": ("random",),
    "brainstate.transform": ("transform",),
    "brainstate.typing": ("typing",),
    "brainstate.util": ("util", "statedict"),
    "brainstate.util.filter": ("filters",),
    "brainpy": ("", "neuron", "synapse", "projection"),
    "brainpy.state": ("", "neuron", "synapse", "projection", "state"),
    "braintools": ("",),
    "braintools.file": ("checkpoint",),
    "braintools.init": ("init",),
    "braintools.input": ("input",),
    "braintools.metric": ("metric",),
    "braintools.optim": ("optim",),
    "braintools.surrogate": ("surrogate",),
    "braintools.visualize": ("viz",),
}

# Names that mean another one here.
RENAMED = {
    "FlattedDict": "StateDict",
    "HiddenState": "ShortTermState",
    "TraceContextError": "TraceError",
}

_HERE = __name__.rpartition(".")[0]
_lock = threading.RLock()


class _Alias(types.ModuleType):
    """A module that owns nothing: each name is looked up in spikexla when it is asked for."""

    def __init__(self, name: str, sources: tuple[str, ...]) -> None:
        super().__init__(name, f"The names of {', '.join(sources)}, under the name {name}.")
        self.__path__ = []  # makes it a package, so that `import brainstate.nn` is looked up
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self._sources = sources

    def __getattr__(self, name: str) -> Any:
        child = sys.modules.get(f"{self.__name__}.{name}")
        if isinstance(child, _Alias):
            return child
        if not name.startswith("__"):
            for source in self._sources:
                found = getattr(importlib.import_module(source), RENAMED.get(name, name), _ABSENT)
                if found is not _ABSENT:
                    return found
        raise AttributeError(
            f"{self.__name__} stands for {', '.join(self._sources)} (spikexla.compat), "
            f"which has no {name!r}"
        )

    def __dir__(self) -> list[str]:
        names = {name for source in self._sources for name in dir(importlib.import_module(source))}
        children = {name.rpartition(".")[2] for name in sys.modules if _is_below(name, self)}
        return sorted(names | children)


_ABSENT = object()


def _is_below(name: str, alias: _Alias) -> bool:
    return name.rpartition(".")[0] == alias.__name__


def _sources(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the modules of spikexla that exist, by their full names; none is loaded."""
    full = [f"{_HERE}.{name}" if name else _HERE for name in names]
    return tuple(name for name in full if name == _HERE or importlib.util.find_spec(name))


class _Installed:
    """The aliases that are in `sys.modules` now, for whom, and what they stand in front of."""

    def __init__(self) -> None:
        self.users = 0
        self.hidden: dict[str, types.ModuleType] = {}

    def add(self, force: bool) -> None:
        with _lock:
            if self.users == 0:
                self._enter(force)
            self.users += 1

    def _enter(self, force: bool) -> None:
        tops = {name.partition(".")[0] for name in ALIASES}
        real = {n: m for n, m in list(sys.modules.items()) if n.partition(".")[0] in tops}
        if real and not force:
            packages = ", ".join(sorted({name.partition(".")[0] for name in real}))
            raise ImportError(
                f"{packages} is imported already, and modules that use it would go on doing so. "
                "Call spikexla.compat.install() before anything imports it, or install(force=True) "
                "to hide it from the imports that follow."
            )
        for name in real:
            del sys.modules[name]
        for name, names in ALIASES.items():
            sources = _sources(names)
            if sources:
                sys.modules[name] = _Alias(name, sources)
        self.hidden = real

    def remove(self) -> None:
        with _lock:
            self.users -= 1
            if self.users == 0:
                for name in ALIASES:
                    if isinstance(sys.modules.get(name), _Alias):
                        del sys.modules[name]
                sys.modules.update(self.hidden)
                self.hidden = {}


_installed = _Installed()


class Installation:
    """What `install` returns: `uninstall()` or the end of a `with` block takes the names out."""

    def __init__(self) -> None:
        self._active = True

    def uninstall(self) -> None:
        """Takes the names out again, unless another `install` still wants them."""
        with _lock:
            if self._active:
                self._active = False
                _installed.remove()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *error: object) -> None:
        self.uninstall()


def install(*, force: bool = False) -> Installation:
    """Puts `brainstate`, `brainpy` and `braintools` into `sys.modules`, as names of spikexla.

    They stay until `uninstall()` of the result, or the end of a `with` block; after that, what was
    there before is back. Modules that imported them keep what they imported. Several may be
    installed at a time, in any order and by any thread: the names go with the last of them.

    ImportError if one of the packages was imported before, because its users would go on with it;
    `force=True` hides it from later imports instead. A package that is installed on this machine
    but not imported is hidden without asking.

    >>> with install():
    ...     import brainstate
    ...     import braintools.init as braintools_init
    >>> brainstate.ParamState is ParamState, braintools_init.Normal is sx.init.Normal
    (True, True)
    """
    _installed.add(force)
    return Installation()
