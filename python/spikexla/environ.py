"""The environment of a simulation: the time step, the current time, the precision.

Settings (`dt`, `precision`, anything hashable) are constants of compiled functions: each compiled
function keeps one program per combination of settings.  Data (`t`, `i`, arrays and quantities) are
read through a State, so they are inputs of compiled functions and never go stale.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .boxed import Box, Boxed
from .config import config, warn_once
from .state import rely_on
from .steps import decimal
from .switches import EPOCH, HERE, ThreadNest, change, enter, leave
from .units import is_quantity, mantissa

T, I, DT, PRECISION = "t", "i", "dt", "precision"
DEFAULT_DT = 0.1  # ms

_DATA = (T, I)
_ABSENT = jax.tree.structure(None)
_FLOATS = {16: jnp.float16, "bf16": jnp.bfloat16, 32: jnp.float32, 64: jnp.float64}


class MissingTimeStepWarning(UserWarning):
    """No `dt` was set; 0.1 ms was taken."""


class _Cell(Boxed):
    """The State behind a key that holds data."""

    __slots__ = ()

    def __init__(self, key: str) -> None:
        super().__init__(f"environ.{key}", key, Box([], _ABSENT))

    def _check_tree(self, tree: Any, starts: bool) -> None:
        """A key may hold anything, whatever `config` says of states."""

    @property
    def present(self) -> bool:
        return self._tree != _ABSENT


class _Cells(dict[str, _Cell]):
    """The cells by name; `size` is what a program relies on that looked at all of them."""

    size = property(len)


_settings: dict[str, Hashable] = {}  # for the process; those of blocks are in their places
_cells = _Cells()
_MISSING = object()
_x64 = ThreadNest(lambda: _wide())


def _setting(key: str) -> Any:
    """The setting of this name that holds here; _MISSING where there is none, or data."""
    found = HERE.get().values.get(key, _MISSING)
    if found is _MISSING:
        return _settings.get(key, _MISSING)
    return _MISSING if type(found) is Box else found


def set(**values: Any) -> None:
    """Sets values for the whole process; inside a block that gives the same name, until its end.

    `dt` is a positive number (of ms) or a quantity of time; `precision` is 16, 'bf16', 32 or 64
    and 64 switches 64-bit types of jax on.  Any other name may be used for one's own values.

    >>> set(dt=0.1)
    """
    for key, value in values.items():
        value = _checked(key, value)
        if _is_data(key, value):
            _settings.pop(key, None)
            _cell(key).value = value
        elif not (_setting(key) is not _MISSING and change(key, value)):
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
    setting = _setting(key)
    if setting is not _MISSING:
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
    chosen = get(PRECISION, None)
    if _x64.disturbed(None if chosen is None else chosen == 64):
        raise RuntimeError(
            "another task of this thread is inside of `environ.context(precision=...)`: the 64-bit "
            "types of jax are a switch of the thread. Await nothing inside of that block, or run "
            "it in a thread of its own (asyncio.to_thread)."
        )
    if chosen is not None:
        return chosen
    return 64 if _wide() else 32


def _wide() -> bool:
    return jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def dftype() -> Any:
    """The floating-point type of the present precision."""
    return _FLOATS[get_precision()]


def ditype() -> Any:
    """The integer type of the present precision: 64 bits at precision 64, 32 bits else."""
    return jnp.int64 if get_precision() == 64 else jnp.int32


def all() -> dict[str, Any]:
    """Every value that is set, seen from here."""
    rely_on(_cells, "size")
    for cell in _cells.values():
        rely_on(cell, "present")
    data = {key: cell.value for key, cell in _cells.items() if cell.present}
    return {**data, **_settings_here()}


def _settings_here() -> dict[str, Any]:
    chosen = HERE.get().values
    if not chosen:
        return _settings.copy()
    its = {**_settings, **{key: x for key, x in chosen.items() if isinstance(key, str)}}
    return {key: x for key, x in its.items() if type(x) is not Box}


def pop(key: str, default: Any = _MISSING) -> Any:
    """Removes what `set` set, and returns it."""
    value = get(key, default) if key not in _settings else _settings[key]
    _settings.pop(key, None)
    if key in _cells:
        _cells[key].value = None
    EPOCH.bump()
    return value


def reset() -> None:
    """Removes everything that `set` set."""
    for key in list(all()):
        if key not in HERE.get().values:
            pop(key)


class context(contextlib.ContextDecorator):
    """Sets values for the length of a `with` block or of a decorated function.

    They hold in its thread, and under asyncio in its task, alone.  Inside traced functions the
    values may be traced: `with context(t=i * dt): net(x)`.

    >>> with context(dt=0.05):
    ...     get_dt_ms()
    0.05
    """

    def __init__(self, **values: Any) -> None:
        self._values = {key: _checked(key, value) for key, value in values.items()}

    def __enter__(self) -> dict[str, Any]:
        values = self._values
        enter(self, {k: _cell(k).box(x) if _is_data(k, x) else x for k, x in values.items()})
        if PRECISION in values:
            _x64.enter(self, jax.enable_x64(values[PRECISION] == 64))
        return values

    def __exit__(self, *error: object) -> None:
        if PRECISION in self._values:
            _x64.leave(self)
        leave(self)


def settings_key() -> frozenset:
    """All settings that hold here, as a key for compiled programs."""
    settings = _settings_here()
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
