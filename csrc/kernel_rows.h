// The list of handlers as Python reads it: one dict a row of the registry.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <vector>

#include "ffi/registry.h"

namespace spikexla {

inline nanobind::list kernel_rows(const std::vector<Kernel>& kernels) {
  nanobind::list rows;
  for (const Kernel& k : kernels) {
    nanobind::dict row;
    row["name"] = k.name;
    row["platform"] = k.platform;
    row["model"] = k.model;
    row["state"] = k.state;
    row["params"] = k.params;
    row["inputs"] = k.inputs;
    row["handler"] = nanobind::capsule(k.handler);
    rows.append(row);
  }
  return rows;
}

}  // namespace spikexla
