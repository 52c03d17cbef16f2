"""Output folders that appear complete or not at all, and the progress bar."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .options import UserError


@contextlib.contextmanager
def staged_folder(target: str | None) -> Iterator[Path | None]:
    """A hidden folder beside `target` whose files move there when the block succeeds.

    It is made at once, so that a place that cannot be written to is refused before any work. When
    the block fails or is interrupted, it is removed and `target` is as it was.
    """
    if target is None:
        yield None
        return
    final = Path(target).expanduser().absolute()
    home = _nearest_folder(final)  # on the same file system, so that a move is a rename
    try:
        stage = Path(tempfile.mkdtemp(prefix=".spikexla-", dir=home))
    except OSError as error:
        raise UserError(
            f"--out {target} cannot be written ({error.strerror}: {home}). Choose another folder."
        ) from error
    try:
        yield stage
        _publish(stage, final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _nearest_folder(final: Path) -> Path:
    """`final` if it is a folder, else the nearest folder above it that exists."""
    for place in (final, *final.parents):
        if place.is_dir():
            return place
        if place.exists():
            raise UserError(f"--out {final} cannot be written: {place} is a file, not a folder.")
    raise UserError(f"--out {final} cannot be written: there is no folder above it.")


def _publish(stage: Path, final: Path) -> None:
    if final.is_dir():  # files of other names that are there stay
        for file in sorted(stage.iterdir()):
            os.replace(file, final / file.name)
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    stage.chmod(0o777 & ~_umask())  # mkdtemp's folders are private
    os.rename(stage, final)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
