"""`patient` and `shielded`: a Ctrl-C that waits until the work in hand is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def patient() -> Iterator[Callable[[], None]]:
    """Within, a first Ctrl-C only makes the function that this gives raise KeyboardInterrupt.

    A second Ctrl-C raises at once. Where SIGINT is not Python's own, or in another thread than the
    main one, nothing is changed.
    """
    asked = False

    def on_interrupt(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def shielded(work: Callable[[], Any]) -> Any:
    """What `work()` gives; a Ctrl-C meanwhile is raised after it, never within.

    HDF5 calls back into Python, and an exception there ends the process. Python raises
    KeyboardInterrupt in the main thread only, so the work is done in another one.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    given: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    asked: KeyboardInterrupt | None = None
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            asked = error
    if asked is not None:
        raise asked
    if failed:
        raise failed[0]
    return given[0]
