"""Timing of competitors against each other: interleaved, warmed up, medians."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# Makes so many calls and returns once their results exist: None, or the seconds that count (a call
# that compiles anew knows them better than a clock around it).
Loop = Callable[[int], float | None]


@dataclass(frozen=True)
class Plan:
    """How long to measure: `rounds` timings of each competitor, each of about `target` seconds."""

    rounds: int = 7
    target: float = 0.2
    quick: bool = False


QUICK = Plan(rounds=3, target=0.02, quick=True)


@dataclass(frozen=True)
class Sample:
    """Seconds per call over `runs` timings of `calls` calls each."""

    runs: int
    calls: int
    min: float
    median: float
    max: float

    def times(self, factor: float) -> Sample:
        """The sample in another unit of work: every duration times `factor`."""
        return Sample(
            self.runs, self.calls, self.min * factor, self.median * factor, self.max * factor
        )


def interleave(
    loops: Mapping[str, Loop], plan: Plan, *, before: Callable[[str], object] | None = None
) -> dict[str, Sample]:
    """Times every competitor in turn, A B A B ..., so that a slow minute of the machine hits all.

    The first call of each (compilation) and one more (caches, page faults) are not counted; the
    second one decides how many calls make a timing of `plan.target` seconds. `before(name)`, if
    given, runs untimed ahead of each timing, which then is of one call: it restores a state.
    """
    calls = {}
    for name, loop in loops.items():
        for _ in range(2):
            if before is not None:
                before(name)
            once = _clock(loop, 1)
        calls[name] = 1 if before is not None else max(1, int(plan.target / max(once, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in loops}
    with _no_gc():
        for _ in range(plan.rounds):
            for name, loop in loops.items():
                if before is not None:
                    before(name)
                times[name].append(_clock(loop, calls[name]) / calls[name])
    return {
        name: Sample(len(t), calls[name], min(t), statistics.median(t), max(t))
        for name, t in times.items()
    }


def _clock(loop: Loop, calls: int) -> float:
    start = time.perf_counter()
    seconds = loop(calls)
    return time.perf_counter() - start if seconds is None else seconds


@contextlib.contextmanager
def _no_gc() -> Iterator[None]:
    """A collection in the middle of one competitor's timing would be charged to it."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
