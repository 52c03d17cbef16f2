// States as Python objects: many of them read, stored or put back in one call.
#pragma once

#include <nanobind/nanobind.h>

// Adds them to the Python module.
void add_states(nanobind::module_& m);
