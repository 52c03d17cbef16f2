#pragma once

#include <nanobind/nanobind.h>

// Adds the packing of a network's synapses to the Python module.
void add_wiring(nanobind::module_& m);
