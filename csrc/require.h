// Checks of what Python hands to the functions of the module: a ValueError names value and rule.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace spikexla {

inline void require(bool sound, const std::string& message) {
  if (!sound) throw std::invalid_argument("spikexla: " + message);
}

// `value`, which must lie in [low, high].
inline int64_t require_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    require(false, std::string(name) + " is " + std::to_string(value) + ", must be from " +
                       std::to_string(low) + " to " + std::to_string(high));
  return value;
}

// That `rows + 1` numbers ascend from 0 to `total`; without one, to anything.
inline void require_ascending(const char* name, const int64_t* at, int64_t rows,
                              int64_t total = -1) {
  if (at[0] != 0) require_range(name, at[0], 0, 0);
  for (int64_t i = 0; i < rows; ++i)
    if (at[i + 1] < at[i])
      require(false, std::string(name) + "[" + std::to_string(i + 1) + "] is " +
                         std::to_string(at[i + 1]) + ", must be " + std::to_string(at[i]) +
                         " or more, for it ascends");
  if (total >= 0 && at[rows] != total)
    require(false, std::string(name) + " ends at " + std::to_string(at[rows]) +
                       ", must end at the number of synapses, " + std::to_string(total));
}

}  // namespace spikexla
