"""Kernels with a pure-JAX meaning: arrays in, arrays out. Nothing here knows of States or modules."""

from .library import kernels as kernels
from .neuron_kernel import NeuronKernel as NeuronKernel
from .neuron_scan import neuron_scan as neuron_scan
from .neuron_step import neuron_step as neuron_step
