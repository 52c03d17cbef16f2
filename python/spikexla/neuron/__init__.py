"""Neuron models."""

from .base import Neuron as Neuron
from .lif import LIF as LIF
from .lif_ref import LIFRef as LIFRef
