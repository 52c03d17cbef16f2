// What the rows of a network are read from, while a Python object lends it to network_run.
//
// It is lent under a number, which crosses XLA as data: a compiled step serves any network of its
// shape, and a number that nobody lends any more is an error.
#pragma once

#include <memory>
#include <vector>

#include "cpu/wiring.h"

namespace spikexla {

template <class T>
struct RowSource {
  Slices slices;
  std::vector<Bundle<T>> bundles;
  int64_t first_delay, delays;
  std::shared_ptr<void> arrays;  // those that the bundles point into
};

template <class T>
uint64_t lend(const std::shared_ptr<const RowSource<T>>& source);

// Null if nobody lends it.
template <class T>
std::shared_ptr<const RowSource<T>> borrow(uint64_t number);

}  // namespace spikexla
