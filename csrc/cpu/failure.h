// Why threads that work together had to stop.
#pragma once

#include <atomic>
#include <new>

namespace spikexla {

// Once somebody has noted a failure, no guarded work is done any more. An exception would leave the
// others waiting for ever, and nobody could catch it in a thread of XLA's.
class Failure {
 public:
  // Static text, or null.
  const char* why() const { return why_.load(std::memory_order_relaxed); }
  bool out_of_memory() const { return why() == kNoMemory; }
  void note(const char* why) { why_.store(why, std::memory_order_relaxed); }

  template <class Work>
  void guard(const Work& work) {
    if (why()) return;
    try {
      work();
    } catch (const std::bad_alloc&) {
      note(kNoMemory);
    }
  }

 private:
  static constexpr const char* kNoMemory =
      "there is no memory for the spikes under way or the rows drawn for them. Free some";

  std::atomic<const char*> why_{nullptr};
};

}  // namespace spikexla
