"""Dynamics: a population of equal elements that others may send currents and jumps to."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import environ, init
from .atomic import Transaction
from .module import Batch, Module
from .state import ACTIVE, EPOCH, ShortTermState, State, TraceError, has_tracer
from .steps import steps_up
from .switches import HERE
from .units import attach, is_quantity, mantissa, real
from .value import lead_of

Size = int | Sequence[int]


def shape_of(size: Size, what: str) -> tuple[int, ...]:
    """`size` as a tuple of positive ints."""
    try:
        sizes: Any = size if isinstance(size, tuple | list) else (size,)
        shape = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"{what}={size!r} must be a number of elements or a tuple of them"
        ) from None
    if not shape or min(shape) < 1:
        raise ValueError(f"{what}={size!r} has no elements; every axis needs 1 or more")
    return shape


class Inputs:
    """Inputs that wait for the next step of their receiver, by key.

    They are taken in the order of arrival, those that travelled longer later.

    Functions stay and are asked at each step; values and deferred products are used once. Not a
    dict, so that what waits here is not part of the tree of modules.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Any, Any]] = {}

    def add(self, key: str, value: Any, owner: str) -> None:
        waiting = self._entries.get(key)
        # A trace that failed half way may have left its input here; it belongs to nobody.
        if waiting is not None and (waiting[1] is ACTIVE.frame or callable(waiting[0])):
            raise ValueError(
                f"{owner} already has an input {key!r} for this step. Give each sender a key of "
                "its own, and step the receiver once after each round of inputs."
            )
        self._entries.pop(key, None)
        self._entries[key] = value, ACTIVE.frame
        if ACTIVE.frame is not None and not callable(value):
            ACTIVE.frame.waiting.append((self, key, owner))
        self._changed()

    def take(self, label: str | None = None) -> Iterator[Any]:
        """The inputs (of one label), in order; those used once are removed."""
        for key, (value, frame) in sorted(self._entries.items(), key=_delay_of):
            if label is None or key.startswith(f"{label} // "):
                if not callable(value):
                    if frame is not ACTIVE.frame:
                        raise TraceError(
                            f"the input {key!r} was given outside of what is compiled here, which "
                            "may run once more or not at all, so it would act as often. Give it "
                            "in the same function as the step that takes it."
                        )
                    del self._entries[key]
                    self._changed()
                yield value

    @staticmethod
    def _changed() -> None:
        if ACTIVE.frame is None:  # a function that is traced from now on may find something else
            EPOCH.bump()

    def get(self, key: str) -> Any:
        return self._entries[key][0]

    def forget(self, key: str, frame: Any) -> bool:
        """Removes the input `key` if it was added in this trace and is still here."""
        left = key in self._entries and self._entries[key][1] is frame
        if left:
            del self._entries[key]
        return left

    def clear(self) -> None:
        """Forgets what waits to be used once."""
        if self._entries:
            for _ in self.take():
                pass

    def once(self) -> list[str]:
        """The keys of what waits to be used once, and was not left by a trace that failed."""
        return [k for k, (v, frame) in self._entries.items() if not callable(v) and frame is None]

    def __len__(self) -> int:
        return len(self._entries)

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": {k: (v, None) for k, (v, _) in self._entries.items() if callable(v)}}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self._entries = saved["_entries"]


def _delay_of(entry: tuple[str, tuple[Any, Any]]) -> float:
    value = entry[1][0]
    return value.delay if isinstance(value, Deferred) else 0


class Deferred:
    """A product with weights that is not made yet, so that it can be added in place.

    Inputs of a longer `delay` (in steps) are added later.
    """

    def __init__(self, comm: Any, spikes: Any, delay: float = 0) -> None:
        self.comm, self.spikes, self.delay = comm, spikes, delay

    def add_to(self, total: Any) -> Any:
        return self.comm.accumulate(self.spikes, total)


class _Started:
    """The last start of a module's states: what it depended on, and each State's value.

    Not a tuple, so that it is not part of the tree of modules.
    """

    __slots__ = ("batch_size", "dtype", "seen", "starts", "version")

    def __init__(self, version: int, batch_size: Batch, dtype: Any, starts: list) -> None:
        self.version, self.batch_size, self.dtype = version, batch_size, dtype
        self.seen, self.starts = (EPOCH.value, HERE.get().serial), starts


class Dynamics(Module):
    """Base of neurons and synapses: a shape, parameters with units, and inputs by key.

    `in_size` is the number of elements, or a tuple for a population with several axes; states are
    `(*batch, *in_size)`.
    """

    SETTLED = frozenset({"_units", "_current", "_delta", "_before"})
    _started: _Started | None = None  # see `_note_start`

    def __init__(self, in_size: Size, name: str | None = None) -> None:
        super().__init__(name)
        self.in_size = self.out_size = shape_of(in_size, f"{type(self).__name__}: in_size")
        self._units: dict[str, str] = {}
        self._current, self._delta = Inputs(), Inputs()
        self._before = Inputs()

    @property
    def varshape(self) -> tuple[int, ...]:
        """The shape of the states without batch."""
        return self.in_size

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.in_size)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._before:
            return super().__call__(*args, **kwargs)
        with Transaction():
            for function in self._before.take():
                function()
            return super().__call__(*args, **kwargs)

    # -- inputs -------------------------------------------------------------------------------

    def add_current_input(self, key: str, inp: Any, label: str | None = None) -> None:
        """Adds a current: a value for the next step, or a function of V that is asked at each."""
        self._add(self._current, key, inp, label)

    def add_delta_input(self, key: str, inp: Any, label: str | None = None) -> None:
        """Adds a jump of the state at the end of the next step; a function gives one each step."""
        self._add(self._delta, key, inp, label)

    def waiting(self) -> list[str]:
        """The keys of inputs that are for the next step alone."""
        return self._current.once() + self._delta.once()

    def add_before_update(self, key: Hashable, fun: Callable[[], Any]) -> None:
        """`fun()` is called before every update."""
        self._add(self._before, str(key), fun, None)

    def has_before_update(self, key: Hashable) -> bool:
        """Whether a function was added under this key."""
        return str(key) in self._before._entries

    def get_before_update(self, key: Hashable) -> Callable[[], Any]:
        """The function that was added under this key."""
        return self._before.get(str(key))

    def _add(self, inputs: Inputs, key: str, inp: Any, label: str | None) -> None:
        inputs.add(key if label is None else f"{label} // {key}", inp, type(self).__name__)
        if callable(inp):
            self._changed()

    def sum_current_inputs(self, init: Any, *args: Any, label: str | None = None) -> Any:
        """`init` and all currents; functions are called with `args`."""
        return _total(init, self._current.take(label), args)

    def sum_delta_inputs(self, init: Any, *args: Any, label: str | None = None) -> Any:
        """`init` and all jumps; functions are called with `args`."""
        return _total(init, self._delta.take(label), args)

    # -- parameters ---------------------------------------------------------------------------

    def _set_parameter(self, name: str, value: Any, unit: str) -> None:
        """Keeps what the user gave; a function makes the array of `varshape`."""
        try:
            made = init.param(value, self.varshape, allow_none=False)
        except ValueError as error:
            raise ValueError(f"{self._called(name)}: {error}") from None
        self._units[name] = unit
        setattr(self, name, made)
        self._number(name)  # refuses a wrong dimension here

    def _number(self, name: str) -> Any:
        """The parameter in its coherent unit: a numpy array of float64 unless it is a State."""
        value = getattr(self, name)
        kept = isinstance(value, State)
        value = value.value if kept else value
        unit, what = self._units[name], self._called(name)
        if kept or has_tracer(value):
            return jnp.asarray(mantissa(value, unit, what=what))
        with jax.ensure_compile_time_eval():
            return real(mantissa(value, unit, what=what), np.float64, what=what)

    def _steps_up(self, name: str, dt: Any) -> Any:
        """The whole steps of `dt` that cover a parameter that is a time, like `steps_up`."""
        value, what = getattr(self, name), self._called(name)
        kept = isinstance(value, State)
        number = mantissa(value.value if kept else value, "ms", what=what)
        if kept or has_tracer(number):
            number = jnp.asarray(number)
        else:
            with jax.ensure_compile_time_eval():
                number = np.asarray(number)
        return steps_up(number, mantissa(dt, "ms", what="dt"))

    def _require(self, name: str, test: Callable[[Any], Any], rule: str) -> None:
        """ValueError unless `test` holds for every element; traced values are trusted."""
        number = self._number(name)
        if has_tracer(number):
            return
        number = np.asarray(number)
        wrong = number[~np.asarray(test(number))]
        if wrong.size:
            raise ValueError(f"{self._called(name)} is {wrong.flat[0]} {self._units[name]}; {rule}")

    def _called(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"

    def _start(self, initializer: Any, unit: str, what: str, batch_size: Batch) -> Any:
        """(array of `(*batch, *varshape)`, whether a unit came with it) made by an initialiser."""
        lead = lead_of(batch_size)
        value = initializer.value if isinstance(initializer, State) else initializer
        try:
            value = init.param(value, self.varshape, lead or None, allow_none=False)
        except ValueError as error:
            raise ValueError(f"{self._called(what)}: {error}") from None
        number, shape = mantissa(value, unit, what=self._called(what)), (*lead, *self.varshape)
        if has_tracer(number):
            number = jnp.asarray(number, environ.dftype())
            # A copy: the memory of a State may be given away, and the array may be the user's.
            return jnp.array(jnp.broadcast_to(number, shape)), is_quantity(value)
        number = real(number, environ.dftype(), what=self._called(what))
        if np.isnan(number).any():
            raise ValueError(f"{self._called(what)} made NaN; initial values must be numbers")
        return filled(number, shape), is_quantity(value)

    def _note_start(self, initializer: Any, batch_size: Batch, *states: ShortTermState) -> None:
        """Remembers what `states` were started from, if starting again must give the same."""
        changing = isinstance(initializer, State | np.ndarray) or callable(initializer)
        started = None
        if not changing and ACTIVE.frame is None:
            starts = [(state, state._start) for state in states]
            started = _Started(self._version, batch_size, environ.dftype(), starts)
        object.__setattr__(self, "_started", started)

    def _start_again(self, batch_size: Batch) -> bool:
        """Puts the states back to their last start; False if it might not be the right one.

        Arrays do not change, so this hands out those of the last start and writes no memory.
        """
        last = self._started
        if last is None or last.batch_size != batch_size or last.version != self._version:
            return False
        seen = EPOCH.value, HERE.get().serial
        if last.seen != seen:  # something changed somewhere; the precision, perhaps
            if last.dtype != environ.dftype():
                return False
            last.seen = seen
        for state, start in last.starts:
            if state._start is not start:  # somebody gave the State another start
                return False
            state.reset()
        return True


_filled: weakref.WeakValueDictionary[Any, jax.Array] = weakref.WeakValueDictionary()


def filled(number: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    """`number` repeated to `shape`; equal starts share one array as long as it is in use."""
    key = None
    if number.size == 1:
        device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
        key = number.tobytes(), number.dtype, shape, device
        found = _filled.get(key)
        if found is not None and not found.is_deleted():
            return found
    # A copy: the memory of a State may be given away, and the array may be the user's.
    full = np.array(np.broadcast_to(number, shape))
    with jax.ensure_compile_time_eval():
        made = jax.device_put(full)
    if key is not None:
        _filled[key] = made
    return made


def _total(total: Any, values: Iterator[Any], args: tuple) -> Any:
    for value in values:
        if isinstance(value, Deferred):
            unit = total.unit if is_quantity(total) else None
            number = value.add_to(total.mantissa if unit is not None else total)
            total = number if unit is None else number * unit
        else:
            total = total + (value(*args) if callable(value) else value)
    return total


def put(state: State, number: Any, unit: str) -> None:
    """Writes `number` (in `unit`) into the State, with a unit if its value has one."""
    state.value = attach(number, unit) if is_quantity(state.value) else number
