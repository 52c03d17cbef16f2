"""`Sink`: takes the spikes of a run as they come, so that they need not fit into memory."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np


class Sink(abc.ABC):
    """What `simulate(to=...)` hands each chunk of spikes to: a file, or statistics of one's own.

    >>> import spikexla as sx
    >>> class Counts(sx.network.Sink):
    ...     spikes = 0
    ...     def append(self, trains, until_ms):
    ...         self.spikes += sum(len(ids) for _, ids in trains.values())
    >>> counts = Counts()
    >>> result = sx.simulate(sx.COBANet(100, seed=1), 50.0, to=counts)
    >>> counts.spikes == round(result.rates_hz["N"] * 100 * 0.05)
    True
    """

    start_ms: float = 0.0
    """Until when it has spikes already: a network whose time is less goes on from there."""

    @abc.abstractmethod
    def append(self, trains: Mapping[str, tuple[np.ndarray, np.ndarray]], until_ms: float) -> None:
        """Takes `{population: (times in ms, ids)}`, both `(spikes,)` in the order of time.

        Times go on from one run of a network to the next, until it is started anew. These are all
        the spikes up to `until_ms` since the chunk before. All of it is taken, or, if this raises,
        nothing; then the run ends, its States being those before the chunk.
        """
