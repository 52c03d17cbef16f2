// parallel_for on pools that misbehave: helpers that never run, run late, or run all at once.
#include "cpu/parallel.h"

#include <mutex>
#include <vector>

#include "check.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

using Work = std::function<void()>;

struct NeverPool {
  void Schedule(Work) {}
};

// Keeps its work until somebody calls run(), long after parallel_for has returned.
struct LatePool {
  std::vector<Work> kept;
  void Schedule(Work work) { kept.push_back(std::move(work)); }
  void run() {
    for (auto& work : kept) work();
  }
};

// Runs a helper inside Schedule: the caller finds no ticket left.
struct EagerPool {
  void Schedule(Work work) { work(); }
};

struct ThreadsPool {
  std::vector<std::thread> threads;
  void Schedule(Work work) { threads.emplace_back(std::move(work)); }
  ~ThreadsPool() {
    for (auto& thread : threads) thread.join();
  }
};

template <class Pool>
void each_task_once(const std::string& name, Pool& pool, int64_t tasks, int64_t helpers) {
  auto times = std::make_unique<std::atomic<int>[]>(size_t(tasks) + 1);
  for (int64_t i = 0; i < tasks; ++i) times[i] = 0;
  parallel_for(pool, tasks, helpers, [&](int64_t i) { ++times[i]; });
  bool once = true;
  for (int64_t i = 0; i < tasks; ++i) once = once && times[i] == 1;
  check(once, name + " pool, " + std::to_string(tasks) + " tasks, " + std::to_string(helpers) +
                  " helpers: each task runs once before parallel_for returns");
}

void all_pools() {
  for (const int64_t tasks : {0, 1, 2, 7, 1000})
    for (const int64_t helpers : {0, 1, 3, 100}) {
      NeverPool never;
      each_task_once("never", never, tasks, helpers);
      EagerPool eager;
      each_task_once("eager", eager, tasks, helpers);
      ThreadsPool threads;
      each_task_once("threads", threads, tasks, helpers);
      LatePool late;
      each_task_once("late", late, tasks, helpers);
      late.run();  // `times` is gone: a late helper must not touch the body
    }
}

void limits() {
  for (const int limit : {1, 2, 5}) {
    abi::set_thread_limit(limit);
    LatePool pool;
    parallel_for(pool, 100, 100, [](int64_t) {});
    check(int(pool.kept.size()) == limit - 1,
          "a limit of " + std::to_string(limit) + " asks for one helper fewer");
  }
  abi::set_thread_limit(0);
  check(abi::thread_limit() >= 1, "without a limit the machine decides");
}

#if defined(__SSE2__)
void denormals() {
  const unsigned before = _mm_getcsr();
  {
    const FlushDenormals flush;
    check((_mm_getcsr() & 0x8040) == 0x8040, "denormals are flushed inside");
  }
  check(_mm_getcsr() == before, "and the caller's mode is restored");
}
#else
void denormals() {}
#endif

}  // namespace

int main() {
  abi::set_thread_limit(8);
  all_pools();
  limits();
  denormals();
  return summary();
}
