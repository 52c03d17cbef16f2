"""What keeps files whole: writes that reach the medium, a file replaced at once, one writer.

Everything that checkpoints and spike files do to a disk goes through here, so a test can end the
power after any of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import warnings
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_BINARY = getattr(os, "O_BINARY", 0)
READ, WRITE, CREATE = os.O_RDONLY | _BINARY, os.O_RDWR | _BINARY, os.O_CREAT
_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_PART = ".part"  # of a file that is being written


def write(handle: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """Writes all of `data` at byte `at`. OSError where there is no room."""
    os.lseek(handle, at, os.SEEK_SET)
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(handle, left) :]


def read(handle: int, size: int, at: int) -> bytes:
    """The bytes from `at` on, `size` of them or those that there are."""
    os.lseek(handle, at, os.SEEK_SET)
    parts = []
    while size > 0 and (part := os.read(handle, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def truncate(handle: int, size: int) -> None:
    """Cuts the file off, or lengthens it with zeros."""
    os.ftruncate(handle, size)


def sync(handle: int) -> None:
    """Returns when what was written is on the medium: it is there after a loss of power."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, whose fsync leaves it in the drive's cache
    if fcntl is not None and full is not None:
        fcntl.fcntl(handle, full)
    else:
        getattr(os, "fdatasync", os.fsync)(handle)


def sync_folder(path: str) -> None:
    """Returns when the names in the folder of the file `path` are on the medium."""
    if os.name != "posix":  # Windows opens no folders
        return
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(path: str) -> None:
    """Removes the file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def locked(handle: int, path: str, held: str) -> Iterator[None]:
    """Holds the only lock on an open file; BlockingIOError that says `held` where another does."""
    lock(handle, path, held)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_UN)


def lock(handle: int, path: str, held: str) -> None:
    """Takes the only lock on an open file, until it is closed or the process ends.

    BlockingIOError that says `held` where another has it, in this process or another one.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(handle, 2**40, os.SEEK_SET)  # this byte: locked ones cannot be read there
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # pyright: ignore
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(errno.EAGAIN, held, path) from None
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        warnings.warn(
            f"the file system of {path} has no locks ({error.strerror}), so two writers would not "
            "be noticed: take care that there is one.",
            RuntimeWarning,
            stacklevel=2,
        )


def open_locked(path: str, held: str, flags: int = WRITE | CREATE) -> int:
    """The handle of the file `path`, made if need be, with the only lock on it, as `lock` does.

    Whoever holds the lock may remove the file; then the next one makes it anew.
    """
    while True:
        handle = os.open(path, flags, 0o666)
        try:
            lock(handle, path, held)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(handle: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


# -- a file that is replaced at once --------------------------------------------------------------


def replace(path: str | os.PathLike, *data: bytes | bytearray | memoryview) -> None:
    """Replaces the file by one with these bytes; a reader sees the old one or the new one.

    When it returns, they are on the medium. A link stays and its target is replaced; the new file
    has the permissions of the old one. Parts that killed writers left behind are removed.
    """
    target = os.path.realpath(path)
    _remove_parts(target)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise OSError(errno.EINVAL, "there is something that is no file", os.fspath(path))
    handle, part = _new_part(target)
    try:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(part, stat.S_IMODE(os.stat(target).st_mode))
            at = 0
            for piece in data:
                write(handle, piece, at)
                at += len(piece)
            sync(handle)
            if fcntl is not None:
                os.replace(part, target)
        finally:
            os.close(handle)
        if fcntl is None:  # Windows moves no file that is open
            os.replace(part, target)
    except BaseException:
        remove(part)  # it may have become the file already
        raise
    sync_folder(target)


def _new_part(target: str) -> tuple[int, str]:
    """A new file beside the target, locked: what is not locked was left behind."""
    while True:
        folder, name = os.path.split(target)
        part = os.path.join(folder, f".{name}.{secrets.token_hex(4)}{_PART}")
        handle = os.open(part, WRITE | CREATE | os.O_EXCL, 0o666)  # less the umask
        try:
            lock(handle, part, "it is new, and somebody has locked it")
            if _is_at(handle, part):
                return handle, part
        except BlockingIOError:
            pass  # who cleans up was quicker, and takes it for a left one
        except BaseException:
            os.close(handle)
            remove(part)
            raise
        os.close(handle)


def _remove_parts(target: str) -> None:
    """Removes the parts of this file that nobody is writing any more."""
    folder, name = os.path.split(target)
    for found in os.listdir(folder):
        if not (found.startswith(f".{name}.") and found.endswith(_PART)):
            continue
        part = os.path.join(folder, found)
        with contextlib.suppress(OSError):  # it is being written, or somebody else's
            handle = os.open(part, WRITE)
            try:
                with locked(handle, part, "it is being written"):
                    os.unlink(part)
            finally:
                os.close(handle)
