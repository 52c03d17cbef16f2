"""Neuron models."""

from .base import Neuron as Neuron
from .iaf_psc_exp import IafPscExp as IafPscExp
from .lif import LIF as LIF
from .lif_ref import LIFRef as LIFRef
