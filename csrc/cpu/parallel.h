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
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/dispatch.h"

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

// Runs body(task) for every task in [0, tasks) on the caller and at most `helpers` threads of
// `pool` (anything with Schedule(function)). `body` may refer to the caller's stack.
template <class Pool, class Body>
void parallel_for(Pool& pool, int64_t tasks, int64_t helpers, const Body& body) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  helpers = std::min<int64_t>({helpers, tasks - 1, abi::thread_limit() - 1});
  if (helpers <= 0) {
    const FlushDenormals flush;
    for (int64_t i = 0; i < tasks; ++i) body(i);
    return;
  }
  auto shared = std::make_shared<Shared>();
  const auto work = [shared, tasks, &body] {
    const FlushDenormals flush;
    for (;;) {
      const int64_t i = shared->next.fetch_add(1, std::memory_order_relaxed);
      if (i >= tasks) return;  // a late helper leaves here, before it touches `body`
      body(i);
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t k = 0; k < helpers; ++k) pool.Schedule(std::function<void()>(work));
  work();
  Backoff backoff;
  while (shared->done.load(std::memory_order_acquire) < tasks) backoff.wait();
}

}  // namespace spikexla
