// Chooses the SIMD level once, when the library is loaded.
#include "cpu/dispatch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

namespace spikexla::abi {
namespace {

std::atomic<int> limit{0};

const Table& choose() {
  const char* wanted = std::getenv("SPIKEXLA_SIMD");
  const Table* fallback = nullptr;
  std::string known;
  for (const Table* t : compiled_levels()) {
    if (wanted && *wanted && std::string(wanted) == t->level) {
      if (supported(*t)) return *t;
      throw std::runtime_error("SPIKEXLA_SIMD=" + std::string(wanted) +
                               ": this processor lacks these instructions. Unset it.");
    }
    if (!fallback && supported(*t)) fallback = t;
    known += std::string(known.empty() ? "" : ", ") + t->level;
  }
  if (wanted && *wanted)
    throw std::runtime_error("SPIKEXLA_SIMD=" + std::string(wanted) +
                             " is not a level of this library. Choose one of: " + known + ".");
  return *fallback;
}

}  // namespace

bool supported(const Table& t) {
#if defined(__x86_64__)
  const std::string level = t.level;
  __builtin_cpu_init();
  if (level == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  if (level == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

const std::vector<const Table*>& compiled_levels() {
  static const std::vector<const Table*> levels = {
#if defined(__x86_64__) && !defined(SPIKEXLA_BASELINE_ONLY)
      table_avx512(), table_avx2(),
#endif
      table_baseline()};
  return levels;
}

const Table& table() {
  static const Table& chosen = choose();
  return chosen;
}

void set_thread_limit(int threads) { limit = threads; }

int thread_limit() {
  // Asked once: glibc opens a file in /sys for every answer, which takes two microseconds.
  static const int machine = std::max(1u, std::thread::hardware_concurrency());
  const int n = limit.load(std::memory_order_relaxed);
  return n > 0 ? n : machine;
}

}  // namespace spikexla::abi
