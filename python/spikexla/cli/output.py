"""Standard streams, output folders that appear complete or not at all, and the progress bar."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .options import UserError


def open_streams() -> None:
    """Puts the null device where a standard stream is closed, as it is under some daemons.

    Else the next files that are opened would take the numbers 0 to 2, and what libraries print
    there would be written into them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for as long as we run)


@contextlib.contextmanager
def staged_folder(option: str, target: str, files: Sequence[str]) -> Iterator[Path]:
    """A hidden folder beside `target`; what is put there appears in `target` if the block succeeds.

    It is made at once, so that a place where `files` cannot be written is refused before any work,
    as a mistake in `option`. When the block fails or is stopped, it is removed and `target` is as
    it was.
    """
    what = f"{option} {target}"
    final = Path(os.path.expanduser(target)).absolute()
    with writing(what):
        home = _nearest_folder(final)  # on the same file system, so that a move is a rename
        for name in files:
            if (final / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{final / name} is a folder")
        room = Path(tempfile.mkdtemp(prefix=".spikexla-", dir=home))
    try:
        with _gone_when_killed(room):
            missing = final.relative_to(home).parts
            with writing(what):
                room.joinpath(*missing).mkdir(parents=True, exist_ok=True)
            yield room.joinpath(*missing)
            with writing(what):
                _publish(room, home, missing)
    finally:
        shutil.rmtree(room, ignore_errors=True)


@contextlib.contextmanager
def _gone_when_killed(room: Path) -> Iterator[None]:
    """Removes `room` also when SIGTERM or SIGHUP ends the process, which they still do."""

    def remove_and_die(number: int, frame: object) -> None:
        # No exception: one that is raised inside a callback of the garbage collector is lost.
        shutil.rmtree(room, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    numbers = []
    if threading.current_thread() is threading.main_thread():  # others may not
        known = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        numbers = [n for n in known if n and signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, remove_and_die)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns a failure to write into one line about the option in `what`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what} cannot be written ({error.strerror or error}). Choose another place."
        ) from error


def _nearest_folder(final: Path) -> Path:
    """`final` if it is a folder, else the nearest folder above it that exists."""
    for place in (final, *final.parents):
        if place.is_dir():
            return place
        if os.path.lexists(place):
            kind = "a link to nowhere" if place.is_symlink() else "a file"
            raise NotADirectoryError(errno.ENOTDIR, f"{place} is {kind}, not a folder")
    raise FileNotFoundError(errno.ENOENT, "there is no folder above it")


def _publish(room: Path, home: Path, missing: Sequence[str]) -> None:
    """Moves the folders that are still missing below `home`, or else the files of the last one."""
    for k in range(1, len(missing) + 1):
        if not home.joinpath(*missing[:k]).is_dir():
            os.rename(room.joinpath(*missing[:k]), home.joinpath(*missing[:k]))
            return
    for file in sorted(room.joinpath(*missing).iterdir()):  # files of other names stay
        os.replace(file, home.joinpath(*missing, file.name))


@contextlib.contextmanager
def progress(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, moved by `update(done, total)`; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:  # decoration only
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {unit}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1, start=True, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """A title and aligned `name  value` lines on stdout."""
    width = max(len(name) for name, _ in rows)
    print(title)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
