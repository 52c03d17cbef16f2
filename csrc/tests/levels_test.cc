// All SIMD levels that this processor has give the same bits, in every loop.
#include <cstring>
#include <vector>

#include "check.h"
#include "cpu/dispatch.h"
#include "level_cases.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

template <class T>
const abi::NeuronLoops<T>& loops(const abi::NeuronRow& row) {
  if constexpr (sizeof(T) == 4) return row.f32;
  else return row.f64;
}

// All results of one model at one level, one after another. `kLanes` has a ragged end.
template <class T>
class Run {
 public:
  static constexpr int64_t kLanes = 203, kSteps = 21, kEvery = 8;

  Run(const abi::NeuronRow& row, bool shared, int32_t surrogate)
      : row_(row), shared_(shared), surrogate_(surrogate), rng_(11) {}

  std::vector<T> results() {
    abi::NeuronForward<T> f{};
    abi::NeuronBackward<T> b{};
    f.lanes = b.lanes = kLanes;
    f.steps = b.steps = kSteps;
    f.every = b.every = kEvery;
    f.row = f.checkpoint_row = b.row = kLanes;
    f.lane = f.checkpoint_lane = b.lane = 1;
    b.width = kLanes + 5;
    b.surrogate = surrogate_;
    b.surrogate_a = T(0.8);
    b.surrogate_b = T(1.1);
    const int64_t segments = (kSteps + kEvery - 1) / kEvery;
    for (int k = 0; k < row_.num_state; ++k) {
      f.state0[k] = {draw(kLanes, k == 0 ? -64 : 0, k == 0 ? -45 : 2), 1, 0};
      f.state1[k] = result(kLanes);
      f.checkpoints[k] = result(segments * kLanes);
      b.checkpoints[k] = {f.checkpoints[k], 1, kLanes};
      b.d_state1[k] = {draw(kLanes, -1, 1), 1, 0};
      b.d_state0[k] = result(kLanes);
    }
    for (int k = 0; k < row_.num_params; ++k) {
      const double middle[] = {0.1, 1.2, -60, -50, -62, 0.08, 3, 1};
      const double m = middle[k], spread = shared_ ? 0 : 0.02 * std::abs(m);
      f.params[k] = b.params[k] = {draw(kLanes, m - spread, m + spread), shared_ ? 0 : 1, 0};
      b.d_params[k] = result(kLanes);
    }
    for (int k = 0; k < row_.num_inputs; ++k) {
      const bool conductance = k == row_.takes_G;
      T* x = draw(kSteps * kLanes, conductance ? 0 : -5, conductance ? 0.4 : k == 0 ? 25 : 1);
      f.inputs[k] = b.inputs[k] = {x, 1, kLanes};
      b.d_inputs[k] = result(kSteps * kLanes);
    }
    f.spikes = result(kSteps * kLanes);
    b.d_spikes = {draw(kSteps * kLanes, -1, 1), 1, kLanes};
    b.scratch = result(
        b.width * abi::backward_rows(row_.num_state, row_.num_params, row_.num_inputs, kEvery));
    const size_t scratch = results_.size() - 1;
    loops<T>(row_).forward(f);
    loops<T>(row_).backward(b);
    std::vector<T> all;
    for (size_t k = 0; k < results_.size(); ++k)
      if (k != scratch) all.insert(all.end(), results_[k].begin(), results_[k].end());
    return all;
  }

 private:
  T* draw(int64_t n, double low, double high) {
    drawn_.emplace_back(n);
    for (T& x : drawn_.back()) x = T(uniform(rng_, low, high));
    return drawn_.back().data();
  }
  T* result(int64_t n) {
    results_.emplace_back(n, T(0));
    return results_.back().data();
  }

  const abi::NeuronRow& row_;
  bool shared_;
  int32_t surrogate_;
  std::mt19937_64 rng_;
  std::vector<std::vector<T>> drawn_, results_;
};

template <class T>
void compare(const abi::Table& one, const abi::Table& other, const char* type) {
  for (int m = 0; m < one.num_neurons; ++m)
    for (const bool shared : {false, true})
      for (int32_t surrogate = 0; surrogate < 9; ++surrogate) {
        const auto a = Run<T>(one.neurons[m], shared, surrogate).results();
        const auto b = Run<T>(other.neurons[m], shared, surrogate).results();
        check(a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0,
              std::string(one.neurons[m].model) + " " + type + ": " + one.level + " and " +
                  other.level + " differ with surrogate " + std::to_string(surrogate) +
                  (shared ? ", shared parameters" : ", own parameters"));
      }
}

// Every loop, called twice on the same numbers.
void compare_all(const abi::Table& one, const abi::Table& other) {
  const auto a = LevelCases(one, 4096).take(), b = LevelCases(other, 4096).take();
  check(a.size() == b.size() && !a.empty(), "levels have the same loops");
  for (size_t k = 0; k < a.size() && k < b.size(); ++k) {
    for (const LevelCase& c : {a[k], b[k]})
      for (int call = 0; call < 2; ++call) c.run();
    check(a[k].digest() == b[k].digest(),
          a[k].name + ": " + one.level + " and " + other.level + " differ");
  }
}

}  // namespace

int main() {
  const auto& levels = abi::compiled_levels();
  const abi::Table& baseline = *levels.back();
  for (const abi::Table* level : levels) {
    if (!abi::supported(*level)) {
      std::printf("not run: this processor lacks %s\n", level->level);
      continue;
    }
    check(level->num_neurons == baseline.num_neurons, "levels list the same models");
    compare<float>(baseline, *level, "float");
    compare<double>(baseline, *level, "double");
    compare_all(baseline, *level);
  }
  return summary();
}
