// Where threads that work together wait for each other.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "cpu/parallel.h"

namespace spikexla {

// Lets threads go from step to step together. The last to finish a step's work opens the next.
//
// Who waits spins for longer than a step of a large network is uneven, which wastes nothing on a
// quiet machine, and then sleeps. On a busy one a thread that was sent away in the middle of its
// work keeps the others waiting anyhow: asleep they save up their share of the processor, which
// brings them back at once when they are woken. Yielding would spend it.
class Meeting {
 public:
  explicit Meeting(int64_t pieces) : pieces_(pieces) {}

  // The steps that are open: step t may be worked on if t < opened().
  int64_t opened() const { return opened_.load(std::memory_order_acquire); }

  // One more piece of the step is done. Whether it was the last; then the caller may do what none
  // of the others must see half done, and must open() the next.
  bool finish() {
    if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 < pieces_) return false;
    finished_.store(0, std::memory_order_relaxed);
    return true;
  }

  void open() {
    opened_.fetch_add(1);
    if (asleep_.load() == 0) return;
    {
      const std::lock_guard lock(mutex_);
    }  // who counted itself asleep is so by now
    woken_.notify_all();
  }

  // Returns when `count` steps are open.
  void wait_for(int64_t count) {
    if (spin(count)) return;
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < kSpinning)
      if (spin(count)) return;
    std::unique_lock lock(mutex_);
    asleep_.fetch_add(1);
    woken_.wait(lock, [&] { return opened_.load() >= count; });
    asleep_.fetch_sub(1);
  }

 private:
  bool spin(int64_t count) const {
    for (int k = 0; k < kSpins && opened() < count; ++k) pause();
    return opened() >= count;
  }

  static constexpr int kSpins = 64;  // between two looks at the clock
  static constexpr std::chrono::microseconds kSpinning{100};

  const int64_t pieces_;
  alignas(64) std::atomic<int64_t> finished_{0};
  alignas(64) std::atomic<int64_t> opened_{1};
  alignas(64) std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable woken_;
};

}  // namespace spikexla
