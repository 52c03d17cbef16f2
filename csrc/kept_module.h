// Adds `matches`: whether what a kept program was made for is as it was.
#pragma once

#include <nanobind/nanobind.h>

void add_kept(nanobind::module_& m);
