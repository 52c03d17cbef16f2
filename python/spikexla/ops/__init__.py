"""Kernels with a pure-JAX meaning: arrays in, arrays out. Nothing here knows of States."""

from . import library
from .library import LibraryError as LibraryError
from .library import kernels as kernels
from .network_run import network_run as network_run
from .neuron_kernel import NeuronKernel as NeuronKernel
from .neuron_scan import neuron_scan as neuron_scan
from .neuron_step import neuron_step as neuron_step
from .reset import reset as reset
from .spike_matvec import spike_matvec as spike_matvec

library.register()
