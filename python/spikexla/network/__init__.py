"""Whole networks, and the way to run them."""

from .coba import COBANet as COBANet
from .cuba import CUBANet as CUBANet
from .simulate import Result as Result
from .simulate import Spikes as Spikes
from .simulate import simulate as simulate
