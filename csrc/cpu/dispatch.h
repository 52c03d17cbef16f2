// The chosen SIMD level and the number of threads, for the whole process.
#pragma once

#include <vector>

#include "cpu/table.h"

namespace spikexla::abi {

// Best first.
const std::vector<const Table*>& compiled_levels();

// Whether this processor has the level.
bool supported(const Table& level);

// At most so many threads work on one call; 0 (the start value): as many as the machine has.
void set_thread_limit(int threads);
int thread_limit();

}  // namespace spikexla::abi
