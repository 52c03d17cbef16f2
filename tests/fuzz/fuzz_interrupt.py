"""An interrupt at any microsecond leaves all States old or all new, and the next call works."""

from __future__ import annotations

import functools
import signal
import time

import numpy as np
import spikexla as sx
from interrupt_cases import MOST, WORK, Work

DT = 0.1


@functools.cache
def _work(name: str) -> tuple[Work, float]:
    """The work, and how long MOST calls of it take."""
    work = WORK[name]()
    work.again()
    start = time.perf_counter()
    for _ in range(MOST):
        work.act()
    return work, time.perf_counter() - start


def case(rng: np.random.Generator) -> None:
    with sx.environ.context(dt=DT):
        for name in rng.choice(list(WORK), 4):
            work, takes = _work(str(name))
            _interrupted(work, str(name), max(1e-6, float(rng.uniform(0, takes))))


def _interrupted(work: Work, name: str, after: float) -> None:
    done, armed, fired = 0, True, False

    def on_alarm(number: int, frame: object) -> None:
        nonlocal fired
        if armed:
            fired = True
            raise KeyboardInterrupt

    work.again()
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)  # one alarm
        for _ in range(MOST):
            work.act()
            done += 1
        armed = False
    except BaseException:
        if not fired:  # else it is the interrupt, or what numpy and jax make of one inside of them
            raise
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    work.check(done, f"{name}, interrupted after {after:.9f} s")
