// The whole test framework: a check that says what it saw, and a summary for ctest.
#pragma once

#include <cstdio>
#include <random>
#include <string>

namespace spikexla_test {

inline int passed = 0, failed = 0;

inline void check(bool ok, const std::string& what) {
  ++(ok ? passed : failed);
  if (!ok && failed <= 20) std::printf("FAILED: %s\n", what.c_str());
}

inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

inline double uniform(std::mt19937_64& rng, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(rng);
}

}  // namespace spikexla_test
