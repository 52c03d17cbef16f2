"""What is going on: the trace and the transaction of this thread, and what all threads share."""

from __future__ import annotations

import threading
from typing import Any

from .switches import EPOCH as EPOCH


class _Active(threading.local):
    frame: Any = None  # the trace in progress
    journal: Any = None  # what the transaction in progress would put back, see `atomic.py`


class _Tracing:
    """How many frames are open, in any thread."""

    __slots__ = ("depth",)

    def __init__(self) -> None:
        self.depth = 0


class _Lost:
    """Stands in `_frame` for the trace of a State that was born in a trace and never got out."""

    def __repr__(self) -> str:
        return "<a trace that has ended>"


ACTIVE = _Active()
TRACING = _Tracing()
LOST = _Lost()
TRACE_LOCK = threading.RLock()  # one thread traces at a time; the others wait, see `State._reach`
