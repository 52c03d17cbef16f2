"""Connections: from the spikes of sources to the sums of weights at targets."""

from .base import EventComm as EventComm
from .drawn import EventDrawn as EventDrawn
from .each import Each as Each
from .fixed import EventFixedNumConn as EventFixedNumConn
from .fixed import EventFixedProb as EventFixedProb
from .fixed import EventFixedTotal as EventFixedTotal
from .linear import Linear as Linear
