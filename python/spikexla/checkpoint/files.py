"""Saving and loading in one call: `save_checkpoint`, `load_checkpoint`, `save`, `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..module import Module
from . import pickled, sealed
from .manager import Manager, Restored

_PICKLES = (".pkl", ".pickle")


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

    What the path ends in says what it becomes:

    - .safetensors: one file of arrays and JSON, which can run nothing (`sealed`).
    - .pkl: the guide's file, a pickle of {'params', 'long_term', 'epoch', 'optimizer_state', ...}
      for code that reads it by `pickle.load`.
    - anything else: a folder, written by orbax-checkpoint.

    All have checksums.  Each replaces what was there at once: a process that is killed leaves the
    old checkpoint or the new one.  With `full`, every State is saved, those of a trial too.

    >>> save_checkpoint(net, None, 3, "run.safetensors")
    >>> load_checkpoint("run.safetensors", net)
    {'epoch': 3}
    """
    path = Path(path)
    if path.suffix == sealed.SUFFIX:
        sealed.save(path, net, optimizer, epoch, full=full, metadata=metadata)
    elif path.suffix in _PICKLES:
        pickled.save(path, net, optimizer, epoch, full=full, metadata=metadata)
    else:
        save(path, net, optimizer, full=full, metadata={**(metadata or {}), "epoch": epoch})


def load_checkpoint(
    path: str | Path, net: Module, optimizer: Any = None, *, trusted: bool = False
) -> dict[str, Any]:
    """Gives a model and its optimiser, if any, what was saved; returns the metadata and 'epoch'.

    Reads what `save_checkpoint` writes, and files that `pickle.dump` wrote as a dict with 'params'
    and perhaps 'long_term', 'optimizer_state' and others, which are returned.

    A pickle can run any code when it is loaded.  So it is not run here: arrays of numbers,
    quantities, States and plain containers are made of what it says, and a file that names anything
    else is refused, unless you say with `trusted` that you know where it is from.

    Raises FileNotFoundError, or CheckpointError that names what is damaged or does not fit; then
    nothing has changed.
    """
    path = Path(path)
    if path.suffix == sealed.SUFFIX:
        return sealed.load(path, net, optimizer)
    if path.suffix in _PICKLES or path.is_file():
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
