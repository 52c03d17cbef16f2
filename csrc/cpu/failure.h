// Why threads that work together had to stop.
#pragma once

#include <atomic>
#include <exception>
#include <new>
#include <stdexcept>

namespace spikexla {

// Once somebody has noted a failure, no guarded work is done any more. An exception would leave the
// others waiting for ever, and nobody could catch it in a thread of XLA's.
class Failure {
 public:
  // Static text, or null.
  const char* why() const { return why_.load(std::memory_order_acquire); }
  bool out_of_memory() const { return why() == kNoMemory; }
  void note(const char* why) { why_.store(why, std::memory_order_release); }

  template <class Work>
  void guard(const Work& work) {
    if (why()) return;
    try {
      work();
    } catch (const std::bad_alloc&) {
      keep(kNoMemory);
    } catch (const std::length_error&) {  // of a container that can never be so long
      keep(kNoMemory);
    } catch (...) {
      keep("a thread of it met an error that nobody foresaw");
    }
  }

  // Throws the first exception of guarded work, when all of that has ended.
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  void keep(const char* why) {
    if (!kept_.exchange(true)) thrown_ = std::current_exception();
    note(why);
  }

  static constexpr const char* kNoMemory =
      "there is no memory for the spikes under way or the rows drawn for them. Free some";

  std::atomic<const char*> why_{nullptr};
  std::atomic<bool> kept_{false};
  std::exception_ptr thrown_;
};

}  // namespace spikexla
