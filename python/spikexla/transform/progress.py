"""`ProgressBar`: shows how far a compiled loop is.

The loop calls back to the host now and then.  All running loops share one display of `rich`, which
has no thread of its own and leaves the terminal's cursor and streams alone, so that a loop that
never comes to its end leaves nothing behind but its last line.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .trace import at_top_level


class ProgressBar:
    """Options of the bar that a loop shows: `for_loop(f, xs, pbar=ProgressBar(freq=100))`.

    freq: steps between two updates.  count: how many updates instead.  Without either, 20.
    desc: a text; or (format, function), where the function takes {"i", "x", "y", "carry"} of a step
    and gives the fields of the format.
    Drawn on stderr with `rich`, which is an optional dependency; nothing is drawn where stderr is
    neither a terminal nor a notebook.  Raises ImportError without rich.

    >>> xs = jnp.arange(100)
    >>> squares = sx.transform.for_loop(lambda x: x**2, xs, pbar=ProgressBar(freq=10))
    """

    def __init__(
        self,
        freq: int | None = None,
        count: int | None = None,
        desc: str | tuple[str, Callable[[dict], dict]] | None = None,
    ) -> None:
        if freq is not None and count is not None:
            raise ValueError("a ProgressBar takes freq or count, not both")
        for name, value in (("freq", freq), ("count", count)):
            if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
                raise ValueError(f"{name} of a ProgressBar is a positive integer, got {value!r}")
        if not (desc is None or isinstance(desc, str) or _is_format(desc)):
            raise TypeError(
                f"desc of a ProgressBar is a text or a tuple (format, function), got {desc!r}"
            )
        try:
            importlib.import_module("rich.progress")
        except ImportError:
            raise ImportError(
                "a ProgressBar is drawn with rich: `pip install rich`, or run without pbar"
            ) from None
        self.freq, self.count, self.desc = freq, count, desc

    def steps(self, n: int) -> int:
        """The number of steps between two updates of a loop of n."""
        for name, value in (("freq", self.freq), ("count", self.count)):
            if value is not None and value > max(n, 1):
                raise ValueError(f"{name} of a ProgressBar is {value}, but the loop has {n} steps")
        return self.freq or max(n // (self.count or 20), 1)


def bar_of(pbar: ProgressBar | int | None) -> tuple | None:
    """The options as plain values, so that equal bars make equal programs."""
    if isinstance(pbar, int) and not isinstance(pbar, bool):
        pbar = ProgressBar(freq=pbar)
    if pbar is None:
        return None
    if not isinstance(pbar, ProgressBar):
        raise TypeError(f"pbar is a ProgressBar or the number of steps between updates, got {pbar}")
    return pbar.freq, pbar.count, pbar.desc


def showing(bar: tuple | None, call: Callable[..., Any], *args: Any) -> Any:
    """`call(*args)`; at top level it waits for the end, so that an error takes its bar away."""
    if bar is None or not at_top_level():
        return call(*args)
    try:
        out = jax.block_until_ready(call(*args))
        jax.effects_barrier()
        return out
    finally:
        DISPLAY.close()


@contextlib.contextmanager
def reporting(
    progress: bool | Callable[[int, int], Any], text: str, n: int
) -> Iterator[Callable[[int, int], Any]]:
    """A function of (steps done, all n steps): the given one, of a bar for True, idle for False."""
    if not isinstance(progress, bool):
        if not callable(progress):
            raise TypeError(
                f"progress={progress!r} must be True, False or a function of (steps done, steps)"
            )
        yield progress
    elif not progress:
        yield lambda done, steps: None
    else:
        site = _Site(ProgressBar(), n)
        DISPLAY.update(site, 0, text)
        try:
            yield lambda done, steps: DISPLAY.update(site, done, text)
        finally:
            DISPLAY.close()


def watch(f: Callable, xs: Any, n: int, reverse: bool, bar: tuple) -> tuple[Callable, Any]:
    """The body of a scan and its inputs, such that each step tells the bar."""
    site = _Site(ProgressBar(*bar), n)
    count = jnp.arange(n, dtype=jnp.int32)

    def watched(carry: Any, x: tuple) -> tuple:
        i, x = x
        carry, y = f(carry, x)
        site(i, x=x, y=y, carry=carry)
        return carry, y

    return watched, (count[::-1] if reverse else count, xs)


def teller(bar: tuple, n: int) -> Callable:
    """For a loop that tells how many of its n steps are done when it wants to."""
    return _Site(ProgressBar(*bar), n).tell


class _Site:
    """The bar of one loop in a program."""

    def __init__(self, bar: ProgressBar, n: int) -> None:
        self.n, self._freq = n, bar.steps(n)
        form: Any = bar.desc if _is_format(bar.desc) else (None, None)
        self._format, self._fields = form
        self._text = bar.desc if isinstance(bar.desc, str) else f"{n:,} steps"

    def __call__(self, i: jax.Array, **step: Any) -> None:
        due = (i == 0) | (i % self._freq == self._freq - 1) | (i == self.n - 1)
        jax.lax.cond(due, lambda: self.tell(i + 1, **step), lambda: None)

    def tell(self, done: jax.Array, **step: Any) -> None:
        fields = {} if self._fields is None else self._fields({"i": done - 1, **step})
        if not isinstance(fields, dict):
            raise TypeError(f"the function in desc must return a dict, got {type(fields).__name__}")
        # Not ordered, for that does not pass vmap: the display keeps the furthest step.
        jax.debug.callback(self._show, done, fields)

    def _show(self, done: Any, fields: dict) -> None:
        text = self._text if self._format is None else self._format.format(**fields)
        DISPLAY.update(self, int(done), text)


class _Display:
    """The bars of all running loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tasks: dict[_Site, Any] = {}

    def update(self, site: _Site, done: int, text: str) -> None:
        """Moves the bar of this loop, which appears with its first step and ends with its last."""
        with self._lock:
            if site not in self._tasks:
                if done >= site.n:  # a vmap tells each lane's last step
                    return
                self._bars = self._bars or _open()
                self._tasks[site] = self._bars.add_task(text, total=site.n)
            task = self._tasks[site]
            before = self._bars.tasks[self._bars.task_ids.index(task)].completed
            so_far = done if done == 1 else max(done, before)
            self._bars.update(task, completed=so_far, description=text, refresh=True)
            if done == site.n:
                del self._tasks[site]
                if not self._tasks:
                    self._close()

    def close(self) -> None:
        """Leaves every bar as it is, and the terminal to others."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._tasks.clear()
        bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()


def _open() -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = _console()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    bars.start()
    console.show_cursor(True)
    return bars


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _is_format(desc: Any) -> bool:
    return (
        isinstance(desc, tuple | list)
        and len(desc) == 2
        and isinstance(desc[0], str)
        and callable(desc[1])
    )


DISPLAY = _Display()
