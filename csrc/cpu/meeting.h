// Where threads that work together wait for each other.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "cpu/parallel.h"

namespace spikexla {

// Counts finished work. Who waits spins for longer than a step of a large network is uneven, which
// wastes nothing on a quiet machine, and then sleeps. On a busy one a thread that was sent away in
// the middle of its work keeps the others waiting anyhow: asleep they save up their share of the
// processor, which brings them back at once when they are woken. Yielding would spend it.
class Meeting {
 public:
  int64_t finished() const { return finished_.load(std::memory_order_acquire); }

  // One more piece is done. The one that completes a multiple of `all` wakes the others.
  void finish(int64_t all) {
    if ((finished_.fetch_add(1) + 1) % all != 0 || asleep_.load() == 0) return;
    {
      const std::lock_guard lock(mutex_);
    }  // who counted itself asleep is so by now
    woken_.notify_all();
  }

  // Returns when `count` pieces are done.
  void wait_for(int64_t count) {
    if (spin(count)) return;
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < kSpinning)
      if (spin(count)) return;
    std::unique_lock lock(mutex_);
    asleep_.fetch_add(1);
    woken_.wait(lock, [&] { return finished_.load() >= count; });
    asleep_.fetch_sub(1);
  }

 private:
  bool spin(int64_t count) const {
    for (int k = 0; k < kSpins && finished() < count; ++k) pause();
    return finished() >= count;
  }

  static constexpr int kSpins = 64;  // between two looks at the clock
  static constexpr std::chrono::microseconds kSpinning{100};

  alignas(64) std::atomic<int64_t> finished_{0};
  alignas(64) std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable woken_;
};

}  // namespace spikexla
