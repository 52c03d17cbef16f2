#pragma once

#include <nanobind/nanobind.h>

// Adds the rules of drawn rows to the Python module.
void add_rows(nanobind::module_& m);
