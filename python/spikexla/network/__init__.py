"""Whole networks, and the way to run them."""

from . import statistics as statistics
from .brunel import Brunel as Brunel
from .coba import COBANet as COBANet
from .cuba import CUBANet as CUBANet
from .microcircuit import Microcircuit as Microcircuit
from .result import Result as Result
from .result import Spikes as Spikes
from .simulate import simulate as simulate
from .sink import Sink as Sink
