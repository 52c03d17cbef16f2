// The loops of every SIMD level, for the benchmark that compares them.
#pragma once

#include <nanobind/nanobind.h>

void add_levels(nanobind::module_& m);
