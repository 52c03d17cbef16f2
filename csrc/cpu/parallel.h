// A parallel loop that cannot deadlock on a shared pool.
//
// XLA runs its own thunks on the pool that it lends to handlers, so a handler must never wait for
// work that has not started. Here the caller takes tickets like everybody else and only waits for
// tickets that a running thread holds; a helper that starts too late finds none left.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/dispatch.h"
#include "cpu/failure.h"

namespace spikexla {

// Denormals cost a hundred cycles each and XLA flushes them on its own threads: so do ours.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#endif
};

inline void pause() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polite waiting: a few hundred nanoseconds of spinning, then the processor is offered to others,
// so that a busy machine costs a time slice and not a standstill.
class Backoff {
 public:
  void wait() {
    if (++spins_ < 256) pause();
    else std::this_thread::yield();
  }

 private:
  int spins_ = 0;
};

// Runs body(task), or body(task, worker), for every task in [0, tasks) on the caller and at most
// `helpers` threads of `pool` (anything with Schedule(function)). `body` may refer to the caller's
// stack. Workers are numbered from 0 to `helpers`.
//
// The first exception of any thread is thrown on the caller when nobody uses `body` any more; tasks
// that had not begun by then are left out.
template <class Pool, class Body>
void parallel_for(Pool& pool, int64_t tasks, int64_t helpers, const Body& body) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0}, workers{0};
    Failure failure;
  };
  const auto call = [&body](int64_t task, int64_t worker) {
    if constexpr (std::is_invocable_v<const Body&, int64_t, int64_t>) body(task, worker);
    else body(task);
  };
  helpers = std::min<int64_t>({helpers, tasks - 1, abi::thread_limit() - 1});
  if (helpers <= 0) {
    const FlushDenormals flush;
    for (int64_t i = 0; i < tasks; ++i) call(i, 0);
    return;
  }
  auto shared = std::make_shared<Shared>();
  const auto work = [shared, tasks, call] {
    const FlushDenormals flush;
    for (int64_t me = -1;;) {
      const int64_t i = shared->next.fetch_add(1, std::memory_order_relaxed);
      if (i >= tasks) return;  // a late helper leaves here, before it touches `body`
      if (me < 0) me = shared->workers.fetch_add(1, std::memory_order_relaxed);
      shared->failure.guard([&] { call(i, me); });
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  try {
    for (int64_t k = 0; k < helpers; ++k) pool.Schedule(std::function<void()>(work));
  } catch (...) {  // a pool that takes no more work: those that came do it
  }
  work();
  Backoff backoff;
  while (shared->done.load(std::memory_order_acquire) < tasks) backoff.wait();
  shared->failure.rethrow();
}

}  // namespace spikexla
