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

// A body that throws in task `bad`, on the caller's thread or on a helper's.
template <class Pool>
void exception_comes_to_the_caller(const std::string& name, Pool& pool, int64_t bad) {
  std::atomic<int> inside{0}, inside_later{-1};
  bool caught = false;
  try {
    parallel_for(pool, 100, 3, [&](int64_t i) {
      ++inside;
      std::this_thread::sleep_for(std::chrono::microseconds(i == bad ? 0 : 100));
      --inside;
      if (i == bad) throw std::bad_alloc();
    });
  } catch (const std::bad_alloc&) {
    caught = true;
    inside_later = inside.load();
  }
  const std::string what = name + " pool, task " + std::to_string(bad);
  check(caught, what + ": the exception of a task is thrown on the caller");
  check(inside_later == 0, what + ": and nobody is inside the body any more");
}

void exceptions() {
  for (const int64_t bad : {0, 1, 3, 50, 99}) {
    NeverPool never;
    exception_comes_to_the_caller("never", never, bad);
    EagerPool eager;  // the helper has thrown before the caller begins
    exception_comes_to_the_caller("eager", eager, bad);
    ThreadsPool threads;
    exception_comes_to_the_caller("threads", threads, bad);
    LatePool late;
    exception_comes_to_the_caller("late", late, bad);
    late.run();
  }
}

// A pool that takes one helper and no more.
struct FullPool {
  std::vector<std::thread> threads;
  void Schedule(Work work) {
    if (!threads.empty()) throw std::bad_alloc();
    threads.emplace_back(std::move(work));
  }
  ~FullPool() {
    for (auto& thread : threads) thread.join();
  }
};

void a_full_pool() {
  FullPool full;
  each_task_once("full", full, 1000, 5);
}

void workers_are_apart() {
  ThreadsPool pool;
  std::atomic<int> busy[4] = {};
  std::atomic<bool> apart{true};
  parallel_for(pool, 1000, 3, [&](int64_t, int64_t worker) {
    if (worker < 0 || worker > 3 || busy[worker].fetch_add(1) != 0) apart = false;
    else busy[worker].fetch_sub(1);
  });
  check(apart, "no two threads are the same worker");
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
  exceptions();
  a_full_pool();
  workers_are_apart();
  limits();
  denormals();
  return summary();
}
