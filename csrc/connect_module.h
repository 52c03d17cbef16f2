#pragma once

#include <nanobind/nanobind.h>

// Adds the connectivity builders to the Python module.
void add_builders(nanobind::module_& m);
