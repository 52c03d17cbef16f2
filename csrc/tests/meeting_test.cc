// Meeting: nobody goes on before all have arrived, whoever is late and however long the others
// wait.
#include "cpu/meeting.h"

#include <thread>
#include <vector>

#include "check.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

// In each step a thread writes the step, meets the others, and looks at what they wrote. The late
// one keeps the others waiting for longer than they spin.
void nobody_goes_ahead(int threads, int steps, bool late) {
  Meeting meeting(threads);
  std::vector<std::atomic<int>> at(threads);
  std::atomic<int> ahead{0}, lasts{0};
  std::vector<std::thread> all;
  for (int me = 0; me < threads; ++me)
    all.emplace_back([&, me] {
      for (int step = 0; step < steps; ++step) {
        if (late && step % threads == me)
          std::this_thread::sleep_for(std::chrono::microseconds(500));
        at[me].store(step, std::memory_order_relaxed);
        if (meeting.finish()) {
          ++lasts;
          meeting.open();
        }
        meeting.wait_for(step + 2);
        for (const auto& other : at)
          if (other.load(std::memory_order_relaxed) < step) ++ahead;
      }
    });
  for (auto& thread : all) thread.join();
  const std::string name = std::to_string(threads) + (late ? " threads, one late: " : " threads: ");
  check(ahead == 0, name + "nobody goes on before all have arrived");
  check(lasts == steps && meeting.opened() == steps + 1, name + "each step has one last thread");
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 3, 7}) {
    nobody_goes_ahead(threads, 2000, false);
    nobody_goes_ahead(threads, 200, true);
  }
  return summary();
}
