// Rules of drawn rows as Python objects.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <optional>

#include "cpu/rows.h"

// A rule holds the arrays that it reads, and those that it leans on are its own: a caller may
// change the elements of the one that it gave.
struct Rule {
  template <class T>
  using Vector = nanobind::ndarray<T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

  spikexla::RowRule rule;
  std::unique_ptr<int64_t[]> indptr;
  std::optional<Vector<const int32_t>> targets;
};

// Adds them to the Python module.
void add_rows(nanobind::module_& m);
