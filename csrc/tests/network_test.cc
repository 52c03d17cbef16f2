// Network: helpers that come late change nothing, and memory that ends at any allocation ends the
// run or its packing with a failure, not the process.
#include "cpu/network.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "check.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

std::atomic<int64_t> allocations_left{INT64_MAX};

}  // namespace

// Not inlined, or gcc warns of a free() for what a new expression gave.
#define REPLACED [[gnu::noinline]]
REPLACED void* operator new(size_t bytes, std::align_val_t align) {
  if (allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
  const size_t to = size_t(align);
  if (void* at = std::aligned_alloc(to, (bytes + to - 1) / to * to)) return at;
  throw std::bad_alloc();
}
REPLACED void* operator new(size_t bytes) {
  return operator new(bytes, std::align_val_t(__STDCPP_DEFAULT_NEW_ALIGNMENT__));
}
REPLACED void operator delete(void* at) noexcept { std::free(at); }
REPLACED void operator delete(void* at, size_t) noexcept { std::free(at); }
REPLACED void operator delete(void* at, std::align_val_t) noexcept { std::free(at); }
REPLACED void operator delete(void* at, size_t, std::align_val_t) noexcept { std::free(at); }

namespace {

constexpr int64_t kNeurons = 600, kDelays = 5, kSlices = 5;

// Helpers that start after so long, each later than the one before.
class LatePool {
 public:
  explicit LatePool(int microseconds) : late_(microseconds) { all_.reserve(kSlices); }
  ~LatePool() {
    for (std::thread& thread : all_) thread.join();
  }
  void Schedule(std::function<void()> f) {
    const std::chrono::microseconds wait(late_ * int(all_.size()));
    all_.emplace_back([f = std::move(f), wait] {
      std::this_thread::sleep_for(wait);
      f();
    });
  }

 private:
  int late_;
  std::vector<std::thread> all_;
};

const abi::NeuronRow* model(const char* name) {
  for (int k = 0; k < abi::table().num_neurons; ++k)
    if (!std::strcmp(abi::table().neurons[k].model, name)) return &abi::table().neurons[k];
  return nullptr;
}

// A population that excites itself, by rows that are drawn.
class Cells {
 public:
  Cells() : V_(kNeurons), refractory_(kNeurons), g_(kNeurons), steps_of_(kNeurons) {
    for (int64_t i = 0; i < kNeurons; ++i) {
      V_[i] = -60 + 12.f * float(i * 7919 % kNeurons) / kNeurons;
      steps_of_[i] = uint16_t(i % kDelays);
    }
    history_.resize((kDelays - 1) * ((kNeurons + 31) / 32));
    cells_.model = model("lif_ref");
    cells_.size = kNeurons;
    cells_.hard = true;
    cells_.state[0] = V_.data();
    cells_.state[1] = refractory_.data();
    for (int k = 0; k < cells_.model->num_params; ++k) cells_.params[k] = {&params_[k], 0, 0};
    cells_.drive = {&drive_, 0, 0};
    cells_.ports.push_back({g_.data(), {&decay_, 0, 0}, {&value_, 0, 0}, false});
    cells_.history = history_.data();
    Feed<float> feed{};
    feed.rule.kind = RowRule::kFan;
    feed.rule.n_pre = feed.rule.n_post = kNeurons;
    feed.rule.fan = 30;
    feed.weights = &weight_;
    feed.delays.at = steps_of_.data();
    feed.delays.by_row = true;
    rows_.reset(new RowSource<float>{
        Slices(kSlices, {kNeurons}, {1}), {{kNeurons, {feed}}}, 0, kDelays, nullptr});
  }

  // What g is after the run; nothing if it failed.
  std::vector<float> run(int64_t helpers, int late, int64_t steps, int64_t allocations) {
    Synapses<float> w{};
    w.sources = {{0, 0, kNeurons, 0}};
    w.delays = kDelays;
    w.kept = kDelays - 1;
    w.rows = rows_;
    auto net =
        std::make_shared<Network<float>>(std::vector<Population<float>>{cells_}, std::move(w),
                                         rows_->slices, Probes<float>(), steps);
    LatePool pool(late);
    allocations_left = allocations;
    Network<float>::run(net, pool, helpers);
    allocations_left = INT64_MAX;
    const bool failed = net->failure().why();
    net.reset();  // late helpers hold it
    return failed ? std::vector<float>{} : g_;
  }

 private:
  std::vector<float> V_, refractory_, g_;
  std::vector<uint16_t> steps_of_;
  std::vector<uint32_t> history_;
  float params_[7] = {0.005f, 1, -60, -50, -60, 0.1f, 19};  // rate R V_rest V_th V_reset scale hold
  float drive_ = 14, decay_ = 0.98f, value_ = 0.1f, weight_ = 0.5f;
  Population<float> cells_{};
  std::shared_ptr<const RowSource<float>> rows_;
};

void late_helpers_change_nothing() {
  const std::vector<float> alone = Cells().run(0, 0, 60, INT64_MAX);
  check(*std::max_element(alone.begin(), alone.end()) > 0, "neurons spike");
  for (const int64_t helpers : {1, 4})
    for (const int late : {0, 50, 3000, 50000})
      check(Cells().run(helpers, late, 60, INT64_MAX) == alone,
            std::to_string(helpers) + " helpers, late by " + std::to_string(late) + " us");
}

void memory_may_end_anywhere() {
  const std::vector<float> want = Cells().run(0, 0, 4, INT64_MAX);
  for (const int64_t helpers : {0, 2}) {
    int64_t failures = 0;
    for (int64_t k = 0;; ++k) {
      const std::vector<float> got = Cells().run(helpers, 0, 4, k);
      if (!got.empty()) {
        check(got == want, "a run that has enough memory is right");
        break;
      }
      ++failures;
    }
    check(failures > 10, "a run that has too little fails");
  }
}

void memory_may_end_while_packing() {
  const float weight = 0.5f;
  const uint16_t delay = 0;
  Feed<float> feed{};
  feed.rule.fan = 3;
  feed.rule.n_pre = feed.rule.n_post = 100'000;  // enough for all cores
  feed.weights = &weight;
  feed.delays.at = &delay;
  const int64_t rows = feed.rule.n_pre, synapses = 3 * rows;
  std::vector<int64_t> starts(rows + 1);
  for (int64_t i = 0; i <= rows; ++i) starts[i] = 3 * i;
  std::vector<uint32_t> runs(2 * rows), targets(synapses);
  const Slices slices(1, {rows}, {1});
  const std::vector<Bundle<float>> bundles{{rows, {feed}}};
  const auto packs = [&](int64_t allocations) {
    allocations_left = allocations;
    bool packed = false;
    try {
      packed = pack_wiring<float, uint32_t>(slices, bundles, {starts.data(), runs.data(), 0, 1},
                                            targets.data(), nullptr);
    } catch (const std::bad_alloc&) {
    }
    allocations_left = INT64_MAX;
    return packed;
  };
  for (const int64_t k : {0, 2, 5, 20, 100}) check(!packs(k), "too little memory to pack");
  check(packs(INT64_MAX), "enough memory to pack");
}

}  // namespace

int main() {
  late_helpers_change_nothing();
  memory_may_end_anywhere();
  memory_may_end_while_packing();
  return summary();
}
