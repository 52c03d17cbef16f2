"""Saving and loading in one call: `save_checkpoint`, `load_checkpoint`, `save`, `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..module import Module
from . import pickled
from .manager import Manager, Restored

_SUFFIXES = (".pkl", ".pickle")


def save_checkpoint(
    net: Module,
    optimizer: Any,
    epoch: int,
    path: str | Path,
    *,
    full: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Saves a model, its optimiser (or None) and the epoch to a file or a folder.

    A path that ends in .pkl becomes one file: a pickle of {'params', 'long_term', 'epoch',
    'optimizer_state', ...} that `pickle.load` reads; any other path becomes a folder, written by
    orbax-checkpoint.  Either replaces what was there at once: a process that is killed leaves the
    old checkpoint or the new one.  With `full`, every State is saved, those of a trial too.

    >>> save_checkpoint(net, None, 3, "run.pkl")
    >>> load_checkpoint("run.pkl", net)
    {'epoch': 3}
    """
    path = Path(path)
    if path.suffix in _SUFFIXES:
        pickled.save(path, net, optimizer, epoch, full=full, metadata=metadata)
    else:
        save(path, net, optimizer, full=full, metadata={**(metadata or {}), "epoch": epoch})


def load_checkpoint(
    path: str | Path, net: Module, optimizer: Any = None, *, trusted: bool = False
) -> dict[str, Any]:
    """Gives a model and its optimiser, if any, what was saved; returns the metadata and 'epoch'.

    Reads what `save_checkpoint` writes, and files that `pickle.dump` wrote as a dict with 'params'
    and perhaps 'long_term', 'optimizer_state' and others, which are returned.

    A pickle can run any code when it is loaded.  So only arrays, quantities, States and plain
    containers are read; a file that names anything else is refused, unless you say with `trusted`
    that you know where it is from.

    Raises FileNotFoundError, or CheckpointError that names what is damaged or does not fit; then
    nothing has changed.
    """
    path = Path(path)
    if path.suffix in _SUFFIXES or path.is_file():
        return pickled.load(path, net, optimizer, trusted=trusted)
    return restore(path, net, optimizer).metadata


def save(
    path: str | Path,
    net: Module,
    optimizer: Module | None = None,
    *,
    full: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes one checkpoint to the folder `path`, in place of the one that was there."""
    with Manager(path, net, optimizer, keep=1, full=full) as manager:
        last = manager.latest_step
        manager.save(0 if last is None else last + 1, metadata=metadata)


def restore(
    path: str | Path,
    net: Module,
    optimizer: Module | None = None,
    *,
    step: int | None = None,
) -> Restored:
    """Gives the states their values from the folder `path`: of its last step, or of `step`."""
    if not Path(path).is_dir():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    with Manager(path, net, optimizer, read_only=True) as manager:
        return manager.restore(step)
