"""Which targets the sources of a connection are, so that none of them reaches itself.

A connection knows numbers of sources and targets, not neurons. Where it leaves out autapses, it
takes source i for target `first_source + i`; that is checked where the neurons are known.
"""

from __future__ import annotations

import math
from typing import Any


def check_targets(owner: str, comm: Any) -> None:
    """Raises if `comm`, onto a whole population, does not say which neurons its sources are."""
    if getattr(comm, "allow_autapses", True):
        return
    sources, targets = math.prod(comm.in_size), math.prod(comm.out_size)
    first, last = comm.first_source, targets - sources
    what = f"{owner}: comm has allow_autapses=False, {sources} sources and {targets} targets"
    if last < 0:
        raise ValueError(
            f"{what}, so its sources are another population, which has no autapses here. Leave "
            "allow_autapses and first_source out."
        )
    if first is None and last > 0:
        raise ValueError(
            f"{what}, but does not say which of them its sources are. Give it first_source=k if "
            "they are the neurons from k on; leave allow_autapses out if they are another "
            "population."
        )
    if first is not None and not 0 <= first <= last:
        raise ValueError(
            f"{what}, but first_source={first}, which must be from 0 to {last}, where the sources "
            "begin among the targets. Leave it and allow_autapses out if they are another "
            "population."
        )


def check_sources(owner: str, comm: Any, population: str, low: int, high: int) -> None:
    """Raises if the sources turn out to be others of its targets than `comm` took them for."""
    if getattr(comm, "allow_autapses", True):
        return
    first = comm.first_source or 0
    if first != low:
        raise ValueError(
            f"{owner} gets the spikes of neurons [{low}:{high}] of {population}, its own target, "
            f"but its comm, with allow_autapses=False, took them for those from {first} on: "
            f"neurons would reach themselves. Give the comm first_source={low}."
        ) from None
