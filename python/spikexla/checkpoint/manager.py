"""Manager: a folder of checkpoints, the last few and the best ones."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import disk
from ..module import Module
from .snapshot import (
    CheckpointError,
    Snapshot,
    check,
    chosen,
    entries_in,
    plain_metadata,
    put,
    take,
    wanted,
)

_FORMAT = 1
_DELETED, _LOCK = ".deleted", ".lock"
_BEGUN = ".orbax-checkpoint-tmp"  # how orbax calls what it has not finished
_OS_ERROR = re.compile(r"os[ _]error(?:_code=')? ?(\d+)", re.IGNORECASE)  # as tensorstore says it


class Restored(NamedTuple):
    """What came back besides the values of the states."""

    step: int
    metadata: dict[str, Any]
    metrics: dict[str, float]


class Manager:
    """Checkpoints of a model in one folder, by step: the last `keep`, and the best.

    net, optimizer: what is saved and restored: parameters, long-term states, what the optimiser
    remembers, and the streams of random numbers.  With `full`, every State: a run goes on bit for
    bit, from the middle of a trial too.
    keep: how many of the last ones stay.  best: the name of a metric; the `keep_best` checkpoints
    in which it is lowest (mode 'min') or highest ('max') stay as well.
    background: `save` returns when the values are copied; a thread writes them.
    read_only: for a folder that another process may be writing to.

    A step is there as a whole or not at all, also when the process is killed while it is written.
    One Manager writes to a folder: a second one raises BlockingIOError.  A full disk is an OSError.
    Needs the package orbax-checkpoint, which writes the files.  Use it as a context manager, or
    call `close`.

    >>> with Manager(folder, net, keep=2, best="loss") as manager:         # doctest: +SKIP
    ...     for epoch in range(10):
    ...         manager.save(epoch, metrics={"loss": train()})
    ...     manager.restore("best")
    """

    def __init__(
        self,
        directory: str | Path,
        net: Module,
        optimizer: Module | None = None,
        *,
        keep: int = 3,
        best: str | None = None,
        mode: Literal["min", "max"] = "min",
        keep_best: int = 1,
        full: bool = False,
        background: bool = False,
        read_only: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if keep < 1 or keep_best < 1:
            raise ValueError(f"keep and keep_best must be 1 or more, got {keep} and {keep_best}")
        self.directory = Path(directory).absolute()
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(f"{self.directory} is a file; checkpoints need a folder")
        self.net, self.optimizer, self.full = net, optimizer, full
        self.best, self.mode = best, mode
        self.background, self.read_only = background, read_only
        chosen(net, optimizer, full)  # complains about what is no Module
        self._orbax = _orbax()
        self._unlock = self._locked() if not read_only else None
        try:
            self._manager: Any = self._open(keep, keep_best)
        except BaseException:
            self._give_back()
            raise

    def _locked(self) -> weakref.finalize:
        """Takes the folder for this Manager; what is returned gives it back, at the latest when
        the Manager is gone."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = str(self.directory / _LOCK)
        held = (
            "another Manager writes to this folder, and each removes what the other keeps. Close "
            "it first, or make this one read_only"
        )
        return weakref.finalize(self, _unlock, path, disk.open_locked(path, held))

    def _give_back(self) -> None:
        if self._unlock is not None:
            self._unlock()

    def _open(self, keep: int, keep_best: int) -> Any:
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

        kept: list[Any] = [policy.LatestN(keep)]
        if self.best is not None:
            kept.append(
                policy.BestN(
                    get_metric_fn=self._metric,
                    reverse=self.mode == "min",
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = self._orbax.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy(kept),
            best_fn=self._metric if self.best is not None else None,
            best_mode=self.mode,
            enable_async_checkpointing=self.background,
            # A folder is moved away as a whole, and deleted there: half of one would look whole.
            todelete_subdir=_DELETED,
            cleanup_tmp_directories=not self.read_only,
            create=not self.read_only,
        )
        try:
            return self._orbax.CheckpointManager(self.directory, options=options)
        except ValueError as error:  # a timestamp, say, that is no whole number
            raise _damaged(f"the description of a step in {self.directory}", error) from error

    def _metric(self, metrics: Any) -> float:
        value = float(metrics[self.best])
        worst = math.inf if self.mode == "min" else -math.inf
        return worst if math.isnan(value) else value

    # -- saving -------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        *,
        metrics: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Writes the present values as `step`; raises ValueError when that step is there."""
        if self.read_only:
            raise ValueError("this Manager is read_only; make one without it to save")
        if step in self.steps:
            raise ValueError(f"step {step} is in {self.directory} already; use a new number")
        if self.best is not None and self.best not in (metrics or {}):
            raise ValueError(
                f"the best checkpoint is chosen by {self.best!r}; give it: "
                f"save({step}, metrics={{{self.best!r}: ...}})"
            )
        states = chosen(self.net, self.optimizer, self.full)
        snapshot = take(states, self.full, copy=self.background)
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        about = json.dumps(
            {
                "full": self.full,
                "entries": snapshot.entries,
                "metadata": plain_metadata(metadata),
                "metrics": numbers,
            }
        )
        sealed = {"format": _FORMAT, "about": about, "crc32": zlib.crc32(about.encode())}
        args = self._orbax.args
        # orbax writes no empty arrays; their shape says all there is to them.
        filled = {name: array for name, array in snapshot.arrays.items() if array.size}
        with self._disk_errors():
            self._manager.save(
                step,
                args=args.Composite(states=args.PyTreeSave(filled), about=args.JsonSave(sealed)),
                metrics=numbers or None,
                force=True,
            )
        self._clear()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Makes an OSError of what orbax says of a full disk, and removes what was begun."""
        try:
            yield
        except Exception as error:
            found = _OS_ERROR.search(str(error))
            if found is None:
                raise
            for begun in self.directory.glob(f"*{_BEGUN}"):
                shutil.rmtree(begun, ignore_errors=True)
            number = int(found[1])
            raise OSError(
                number,
                f"{os.strerror(number)}: the checkpoint was not saved; those before it are there",
                str(self.directory),
            ) from error

    def _clear(self) -> None:
        if not self.read_only:
            shutil.rmtree(self.directory / _DELETED, ignore_errors=True)

    # -- what is there ------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """The steps that are there, in order."""
        return sorted(self._manager.all_steps())

    @property
    def latest_step(self) -> int | None:
        """The last step; None when there is none."""
        return max(self.steps, default=None)

    @property
    def best_step(self) -> int | None:
        """The step with the best metric; None without one."""
        if self.best is None:
            raise ValueError("this Manager knows no metric; make it with best='loss', for example")
        self.wait()
        return self._manager.best_step()

    # -- restoring ----------------------------------------------------------------------------

    def restore(self, step: int | Literal["best"] | None = None) -> Restored:
        """Gives the states their values at `step` (the last, the given, or the best one).

        Of a full checkpoint every State; without an optimiser at hand, what one remembered is
        left out.  Raises FileNotFoundError when there is none, CheckpointError that names what
        does not fit or is damaged; then nothing has changed.
        """
        self.wait()
        found = self.best_step if step == "best" else self.latest_step if step is None else step
        if found is None or found not in self.steps:
            raise FileNotFoundError(
                f"there is no checkpoint {'' if step is None else step!r} in {self.directory}; "
                f"the steps there are {self.steps}"
            )
        where = f"the checkpoint {self.directory}/{found}"
        about = self._about(found, where)
        full, entries = about["full"], wanted(about["entries"], self.optimizer)
        states = chosen(self.net, self.optimizer, full)
        check(entries, states, where)
        try:
            arrays = self._arrays(found, entries)
        except Exception as error:
            raise _damaged(where, error) from error
        put(Snapshot(arrays, entries, full), states, where)
        return Restored(found, about["metadata"], about["metrics"])

    def _about(self, step: int, where: str) -> dict[str, Any]:
        """What a step says of itself, checked."""
        try:
            sealed = self._read(step, about=self._orbax.args.JsonRestore())["about"]
            if zlib.crc32(sealed["about"].encode()) != sealed["crc32"]:
                raise ValueError("the checksum differs")
            known, about = sealed["format"] <= _FORMAT, json.loads(sealed["about"])
            if known:
                entries_in(about["entries"])
                kinds = {"full": bool, "metadata": dict, "metrics": dict}
                if any(type(about[key]) is not kind for key, kind in kinds.items()):
                    raise TypeError("something else is where the metadata should be")
        except Exception as error:
            raise _damaged(where, error) from error
        if not known:
            raise CheckpointError(f"{where} was written by a newer spikexla; update this one")
        return about

    def _arrays(self, step: int, entries: dict[str, dict]) -> dict[str, np.ndarray]:
        ocp = self._orbax
        filled = {n: ocp.RestoreArgs(restore_type=np.ndarray) for n in entries if _size(entries[n])}
        args = ocp.args.PyTreeRestore(item=dict.fromkeys(filled, 0), restore_args=filled)
        args.partial_restore = True
        read = self._read(step, states=args)["states"]
        empty = {n: np.zeros(e["shape"], e["dtype"]) for n, e in entries.items() if n not in filled}
        return {**{n: np.asarray(read[n]) for n in filled}, **empty}

    def _read(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=self._orbax.args.Composite(**items))

    # -- the end ------------------------------------------------------------------------------

    def wait(self) -> None:
        """Waits until what is written in the background is there; raises what went wrong."""
        with self._disk_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and gives the threads and the folder back."""
        try:
            self.wait()
        finally:
            self._manager.close()
            self._clear()
            self._give_back()

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unlock(path: str, lock: int) -> None:
    disk.remove(path)
    os.close(lock)


def _size(entry: dict[str, Any]) -> int:
    return math.prod(entry["shape"])


def _damaged(where: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{where} is damaged and cannot be read ({type(error).__name__}). Restore an older one."
    )


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "folders of checkpoints need the package orbax-checkpoint, which is not installed. "
            "Install it with `pip install 'spikexla[all]'`, or save to a file that ends in "
            ".safetensors."
        ) from error
    return orbax.checkpoint
