// The part of the Python module that reads rasters.
#pragma once

#include <nanobind/nanobind.h>

void add_raster(nanobind::module_& m);
