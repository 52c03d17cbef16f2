// Meeting: nobody goes on before all have arrived, whoever is late and however long the others
// wait.
#include "cpu/meeting.h"

#include <thread>
#include <vector>

#include "check.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

// In each round a thread writes the round, meets the others, and looks at what they wrote. The late
// one keeps the others waiting for longer than they spin.
void nobody_goes_ahead(int threads, int rounds, bool late) {
  Meeting meeting;
  std::vector<std::atomic<int>> at(threads);
  std::atomic<int> ahead{0}, done{0};
  std::vector<std::thread> all;
  for (int me = 0; me < threads; ++me)
    all.emplace_back([&, me] {
      for (int round = 1; round <= rounds; ++round) {
        if (late && round % threads == me)
          std::this_thread::sleep_for(std::chrono::microseconds(500));
        at[me].store(round, std::memory_order_relaxed);
        meeting.finish(threads);
        meeting.wait_for(int64_t{round} * threads);
        for (const auto& other : at)
          if (other.load(std::memory_order_relaxed) < round) ++ahead;
      }
      ++done;
    });
  for (auto& thread : all) thread.join();
  const std::string name = std::to_string(threads) + (late ? " threads, one late: " : " threads: ");
  check(ahead == 0, name + "nobody goes on before all have arrived");
  check(done == threads && meeting.finished() == int64_t{rounds} * threads,
        name + "all rounds are counted");
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 3, 7}) {
    nobody_goes_ahead(threads, 2000, false);
    nobody_goes_ahead(threads, 200, true);
  }
  return summary();
}
