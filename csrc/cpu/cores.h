// A parallel loop outside of XLA: the threads live for one call.
#pragma once

#include <system_error>
#include <thread>
#include <vector>

#include "cpu/parallel.h"

namespace spikexla {

// Helpers that live as long as this object.
class Threads {
 public:
  ~Threads() {
    for (std::thread& t : threads_) t.join();
  }
  // Where the system starts no more threads, those that there are do the work.
  void Schedule(std::function<void()> f) {
    try {
      threads_.emplace_back(std::move(f));
    } catch (const std::system_error&) {
    }
  }

 private:
  std::vector<std::thread> threads_;
};

// Starting a thread costs some 20 us: one for each `worth` units of work at most.
template <class Body>
void on_all_cores(int64_t tasks, int64_t work, const Body& body) {
  constexpr int64_t kWorth = 65536;
  Threads threads;
  parallel_for(threads, tasks, std::min<int64_t>(abi::thread_limit() - 1, work / kWorth), body);
}

}  // namespace spikexla
