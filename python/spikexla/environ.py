"""The environment of a simulation: the time step, the current time, the precision.

Settings (`dt`, `precision`, anything hashable) are constants of compiled functions: each compiled
function keeps one program per combination of settings.  Data (`t`, `i`, arrays and quantities) are
read through a State, so they are inputs of compiled functions and never go stale.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .config import config, warn_once
from .state import EPOCH, State, rely_on
from .steps import decimal
from .units import is_quantity, mantissa

T, I, DT, PRECISION = "t", "i", "dt", "precision"
DEFAULT_DT = 0.1  # ms

_DATA = (T, I)
_ABSENT = jax.tree.structure(None)
_FLOATS = {16: jnp.float16, "bf16": jnp.bfloat16, 32: jnp.float32, 64: jnp.float64}


class MissingTimeStepWarning(UserWarning):
    """No `dt` was set; 0.1 ms was taken."""


class _Storage(threading.local):
    """One thread's value of a key; a new thread starts from the value set for all."""

    def __init__(self, shared: list) -> None:
        self.raw, self.tree = shared
        self.frame: Any = None


class _Cell(State):
    """The State behind a key that holds data.  Its value belongs to the thread."""

    __slots__ = ("_shared", "_storage")

    def __init__(self, key: str) -> None:
        self.name, self.tag, self._site, self._held = f"environ.{key}", None, None, True
        self._rule = None
        self._shared = [[], _ABSENT]
        self._storage = _Storage(self._shared)

    _raw = property(lambda s: s._storage.raw, lambda s, x: setattr(s._storage, "raw", x))
    _tree = property(lambda s: s._storage.tree, lambda s, x: setattr(s._storage, "tree", x))
    _frame = property(lambda s: s._storage.frame, lambda s, x: setattr(s._storage, "frame", x))

    def _check_tree(self, tree: Any, starts: bool) -> None:
        """A key may hold anything, whatever `config` says of states."""

    @property
    def present(self) -> bool:
        return self._tree != _ABSENT

    def share(self) -> None:
        self._shared[:] = [self._raw, self._tree]


class _Cells(dict[str, _Cell]):
    """The cells by name; `size` is what a program relies on that looked at all of them."""

    size = property(len)


class _Local(threading.local):
    """Settings of the contexts that this thread is in, over those set for all."""

    def __init__(self) -> None:
        self.settings: dict[str, Hashable] = {}


_settings: dict[str, Hashable] = {}
_local = _Local()
_cells = _Cells()
_MISSING = object()
_AS_DATA = object()  # among a context's settings: hides a setting of the same name behind data


def set(**values: Any) -> None:
    """Sets values for the whole program.

    `dt` is a positive number (of ms) or a quantity of time; `precision` is 16, 'bf16', 32 or 64
    and 64 switches 64-bit types of jax on.  Any other name may be used for one's own values.

    >>> set(dt=0.1)
    """
    for key, value in values.items():
        value = _checked(key, value)
        if _is_data(key, value):
            _settings.pop(key, None)
            cell = _cell(key)
            cell.value = value
            cell.share()
        else:
            if key == PRECISION:
                jax.config.update("jax_enable_x64", value == 64)
            if key in _cells:
                _cells[key].value = None
            _settings[key] = value
            EPOCH.bump()


def get(key: str, default: Any = _MISSING, desc: str | None = None) -> Any:
    """The value of `key`; `default` when there is none, or else KeyError.

    `desc` says in the error what the value is for.
    """
    setting = _local.settings.get(key, _settings.get(key, _AS_DATA))
    if setting is not _AS_DATA:
        return setting
    cell = _cell(key)
    rely_on(cell, "present")
    if cell.present:
        return cell.value
    if default is not _MISSING:
        return default
    if key == DT:
        return get_dt()
    purpose = f" ({desc})" if desc else ""
    raise KeyError(
        f"{key!r}{purpose} is not set in the environment; call spikexla.environ.set({key}=...) or "
        f"run inside `with spikexla.environ.context({key}=...)`. Set now: {sorted(all())}"
    )


def get_dt() -> Any:
    """The time step as it was set; 0.1 ms, with one warning, when it was not."""
    dt = get(DT, None)
    if dt is not None:
        return dt
    import brainunit

    return _default_dt() * brainunit.ms


def get_dt_ms() -> float:
    """The time step as a plain number of milliseconds: what models compute with."""
    dt = get(DT, None)
    return _default_dt() if dt is None else decimal(mantissa(dt, "ms", what="dt"))


def _default_dt() -> float:
    message = (
        f"dt is not set; {DEFAULT_DT} ms is used. "
        f"Call spikexla.environ.set(dt={DEFAULT_DT}) to choose it."
    )
    if config.strict:
        raise KeyError(message + " (config.strict is on: dt must be set.)")
    warn_once("dt", message, MissingTimeStepWarning, stacklevel=4)
    return DEFAULT_DT


def get_precision() -> int | str:
    """The precision of floating-point values: 16, 'bf16', 32 or 64."""
    wide = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    return get(PRECISION, 64 if wide else 32)


def dftype() -> Any:
    """The floating-point type of the present precision."""
    return _FLOATS[get_precision()]


def ditype() -> Any:
    """The integer type of the present precision: 64 bits at precision 64, 32 bits else."""
    return jnp.int64 if get_precision() == 64 else jnp.int32


def all() -> dict[str, Any]:
    """Every value that is set, seen from this thread."""
    rely_on(_cells, "size")
    for cell in _cells.values():
        rely_on(cell, "present")
    data = {key: cell.value for key, cell in _cells.items() if cell.present}
    settings = {**_settings, **_local.settings}
    return {**data, **{k: v for k, v in settings.items() if v is not _AS_DATA}}


def pop(key: str, default: Any = _MISSING) -> Any:
    """Removes what `set` set, and returns it."""
    value = get(key, default) if key not in _settings else _settings[key]
    _settings.pop(key, None)
    if key in _cells:
        _cells[key].value = None
        _cells[key].share()
    EPOCH.bump()
    return value


def reset() -> None:
    """Removes everything that `set` set."""
    for key in list(all()):
        if key not in _local.settings:
            pop(key)


class context(contextlib.ContextDecorator):
    """Sets values for the length of a `with` block or of a decorated function, in this thread.

    Inside traced functions the values may be traced: `with context(t=i * dt): net(x)`.

    >>> with context(dt=0.05):
    ...     get_dt_ms()
    0.05
    """

    def __init__(self, **values: Any) -> None:
        self._values = {key: _checked(key, value) for key, value in values.items()}
        self._undo: list[contextlib.ExitStack] = []

    def __enter__(self) -> dict[str, Any]:
        stack = contextlib.ExitStack()
        for key, value in self._values.items():
            if _is_data(key, value):
                cell = _cell(key)
                stack.callback(setattr, cell, "value", cell.value)
                cell.value = value
                if key in _local.settings or key in _settings:
                    self._swap(stack, {**_local.settings, key: _AS_DATA})
            else:
                if key == PRECISION:
                    stack.enter_context(jax.enable_x64(value == 64))
                self._swap(stack, {**_local.settings, key: value})
        self._undo.append(stack)
        return self._values

    def _swap(self, stack: contextlib.ExitStack, settings: dict[str, Hashable]) -> None:
        stack.callback(self._restore, _local.settings)
        self._restore(settings)

    @staticmethod
    def _restore(settings: dict[str, Hashable]) -> None:
        _local.settings = settings
        EPOCH.bump()

    def __exit__(self, *error: object) -> None:
        self._undo.pop().close()


def settings_key() -> frozenset:
    """All settings of this thread, as a key for compiled programs."""
    settings = {**_settings, **_local.settings}
    dt: Any = settings.get(DT)
    if is_quantity(dt):  # a quantity has no hash
        settings[DT] = (float(dt.mantissa), str(dt.unit))
    return frozenset(settings.items())


def _cell(key: str) -> _Cell:
    if key not in _cells:
        _cells[key] = _Cell(key)
        EPOCH.bump()
    return _cells[key]


def _is_data(key: str, value: Any) -> bool:
    if key in (DT, PRECISION):
        return False
    return key in _DATA or isinstance(value, jax.Array | np.ndarray) or is_quantity(value)


def _checked(key: str, value: Any) -> Any:
    if key == DT:
        return _checked_dt(value)
    if key == PRECISION and value not in _FLOATS:
        raise ValueError(f"precision must be one of {list(_FLOATS)}, got {value!r}")
    if not _is_data(key, value):
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"environ value {key}={value!r} is neither an array nor hashable; pass an array "
                "(data) or a number, string or tuple (a setting)"
            ) from None
    return value


def _checked_dt(value: Any) -> Any:
    number = mantissa(value, "ms", what="dt")
    if isinstance(number, Tracer):
        raise TypeError(
            "dt is a setting and cannot be a traced value; give it as a number outside of "
            "jit, grad and loops (to vary a time constant, make that a parameter)"
        )
    try:
        ms = math.nan if isinstance(number, bool) else decimal(number)
    except (TypeError, ValueError):
        ms = math.nan
    if not 0.0 < ms < math.inf:
        raise ValueError(
            f"dt must be a positive number of ms or a quantity of time, got {value!r}; "
            "for example spikexla.environ.set(dt=0.1)"
        )
    return value if is_quantity(value) else ms
