// One call of each loop of one SIMD level on data of its own, to be timed and compared.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"

namespace spikexla {

struct LevelCase {
  std::string name;
  bool arithmetic;         // bound by arithmetic, not by memory or by an order of additions
  double elements, bytes;  // of one call: what it works on, and the least that it moves
  std::function<void()> run;
  std::function<uint64_t()> digest;  // of all that the calls so far have written
};

// The arrays of a case: the same numbers in every case that asks for the same ones.
class CaseData {
 public:
  template <class T>
  T* draw(int64_t n, double low, double high) {
    T* to = room<T>(n, false);
    std::uniform_real_distribution<double> law(low, high);
    for (int64_t i = 0; i < n; ++i) to[i] = T(law(rng_));
    return to;
  }
  uint32_t* words(int64_t n, bool written) {
    uint32_t* to = room<uint32_t>(n, written);
    for (int64_t i = 0; i < n; ++i) to[i] = uint32_t(rng_());
    return to;
  }
  template <class T>
  T* result(int64_t n) {
    return room<T>(n, true);
  }
  // FNV-1a over the results.
  uint64_t digest() const {
    uint64_t hash = 14695981039346656037u;
    for (const Array& a : arrays_)
      for (size_t k = 0; a.written && k < a.bytes; ++k)
        hash = (hash ^ reinterpret_cast<const unsigned char*>(a.at.get())[k]) * 1099511628211u;
    return hash;
  }

 private:
  struct Array {
    std::unique_ptr<uint64_t[]> at;
    size_t bytes;
    bool written;
  };
  template <class T>
  T* room(int64_t n, bool written) {
    const size_t bytes = size_t(n) * sizeof(T);
    arrays_.push_back({std::make_unique<uint64_t[]>(bytes / 8 + 1), bytes, written});
    return reinterpret_cast<T*>(arrays_.back().at.get());
  }
  std::mt19937_64 rng_{11};
  std::vector<Array> arrays_;
};

// Builds the cases of one level on `lanes` neurons, a multiple of kBitsLanes.
class LevelCases {
 public:
  LevelCases(const abi::Table& level, int64_t lanes) : level_(level), lanes_(lanes) {
    for (int m = 0; m < level.num_neurons; ++m) {
      add_neuron<float>(level.neurons[m], level.neurons[m].f32, " f32");
      add_neuron<double>(level.neurons[m], level.neurons[m].f64, " f64");
    }
    add_synapse<float>(level.synapse_f32, " f32");
    add_synapse<double>(level.synapse_f64, " f64");
    add_events<float>(level.sparse->f32, " f32");
    add_events<double>(level.sparse->f64, " f64");
    add_draws();
  }
  std::vector<LevelCase> take() { return std::move(cases_); }

 private:
  static constexpr int64_t kBlock = abi::kBitsLanes, kSteps = 32, kEvery = 16, kFan = 64;

  void add(std::string name, bool arithmetic, double elements, double bytes,
           std::shared_ptr<CaseData> data, std::function<void()> run) {
    cases_.push_back({std::move(name), arithmetic, elements, bytes, std::move(run),
                      [data] { return data->digest(); }});
  }

  template <class T>
  void add_neuron(const abi::NeuronRow& row, const abi::NeuronLoops<T>& loops, const char* type) {
    const std::string model = row.model;
    const auto data = std::make_shared<CaseData>();
    const double middle[] = {0.1, 1.2, -60, -50, -62, 0.08, 3, 1};
    abi::NeuronForward<T> f{};
    abi::NeuronBackward<T> b{};
    abi::NeuronBits<T> bits{};
    f.lanes = b.lanes = kBlock;
    f.steps = b.steps = kSteps;
    f.every = b.every = kEvery;
    f.row = f.checkpoint_row = b.row = b.width = kBlock;
    f.lane = f.checkpoint_lane = b.lane = 1;
    f.hard = b.hard = bits.hard = true;
    b.surrogate_a = b.surrogate_b = T(1);
    bits.lanes = kBlock;
    for (int k = 0; k < row.num_state; ++k) {
      f.state0[k] = {data->draw<T>(kBlock, k == 0 ? -64 : 0, k == 0 ? -45 : 2), 1, 0};
      f.state1[k] = data->result<T>(kBlock);
      f.checkpoints[k] = data->result<T>(kSteps / kEvery * kBlock);
      b.checkpoints[k] = {f.checkpoints[k], 1, kBlock};
      b.d_state1[k] = {data->draw<T>(kBlock, -1, 1), 1, 0};
      b.d_state0[k] = data->result<T>(kBlock);
      bits.state[k] = f.state1[k];
    }
    for (int k = 0; k < row.num_params; ++k)
      f.params[k] = b.params[k] = bits.params[k] = {data->draw<T>(1, middle[k], middle[k]), 0, 0};
    for (int k = 0; k < row.num_inputs; ++k) {
      const bool conductance = k == row.takes_G;
      T* x = data->draw<T>(kSteps * kBlock, conductance ? 0 : -5, conductance ? 0.4 : 25);
      f.inputs[k] = b.inputs[k] = bits.inputs[k] = {x, 1, kBlock};
      b.d_inputs[k] = data->result<T>(kSteps * kBlock);
    }
    f.spikes = data->result<T>(kSteps * kBlock);
    b.d_spikes = {data->draw<T>(kSteps * kBlock, -1, 1), 1, kBlock};
    b.scratch = data->draw<T>(
        kBlock * abi::backward_rows(row.num_state, row.num_params, row.num_inputs, kEvery), 0, 0);
    bits.bits = data->result<uint32_t>(kBlock / 32);
    const double size = sizeof(T), x = row.num_inputs, s = row.num_state, steps = kSteps * kBlock;
    add(model + " forward" + type, true, steps, steps * size * (x + 1), data,
        [f, loops] { loops.forward(f); });
    add(model + " backward" + type, true, steps, steps * size * (2 * x + 1), data,
        [b, loops] { loops.backward(b); });
    add(model + " bits" + type, true, kBlock, kBlock * (size * (x + 2 * s) + 0.125), data,
        [bits, loops] { loops.bits(bits); });
  }

  template <class T>
  void add_synapse(const abi::SynapseLoops<T>& loops, const char* type) {
    const auto data = std::make_shared<CaseData>();
    abi::SynapseBlock<T> b{};
    b.lanes = kBlock;
    b.ports = 2;
    b.decays = true;
    for (int k = 0; k < b.ports; ++k) {
      b.g[k] = data->result<T>(kBlock);
      std::copy_n(data->draw<T>(kBlock, 0, 1), kBlock, b.g[k]);
      b.conductance[k] = true;
      b.decay[k] = {data->draw<T>(1, 1, 1), 0, 0};  // g stays as it is
      b.value[k] = {data->draw<T>(1, -80, 0), 0, 0};
    }
    b.current = {data->draw<T>(kBlock, 0, 20), 1, 0};
    b.I = data->result<T>(kBlock);
    b.G = data->result<T>(kBlock);
    const double size = sizeof(T);
    add(std::string("synapse drive") + type, true, kBlock, kBlock * size * 7, data,
        [b, loops]() mutable { loops.drive(b); });
    add(std::string("synapse decay") + type, true, 2 * kBlock, kBlock * size * 4, data,
        [b, loops]() mutable { loops.decay(b); });
    add_poisson<T>(loops, type);
  }

  template <class T>
  void add_poisson(const abi::SynapseLoops<T>& loops, const char* type) {
    const auto data = std::make_shared<CaseData>();
    // Words reach none of 12 thresholds as a rule, some, or 12: as counts of a mean of 1.3 do.
    uint32_t* thresholds = data->words(12, false);
    double below = 0, term = std::exp(-1.3);
    for (int k = 0; k < 12; ++k) {
      thresholds[k] = uint32_t(std::min((below += term) * 0x1p32, 0x1p32 - 1));
      term *= 1.3 / (k + 1);
    }
    const abi::PoissonBlock<T> p{
        kBlock, data->result<T>(kBlock),         data->words(kBlock, true), thresholds,
        12,     {data->draw<T>(1, 0.5, 1), 0, 0}};
    add(std::string("poisson") + type, true, kBlock, kBlock * (2.0 * sizeof(T) + 8), data,
        [p, loops] { loops.poisson(p); });
  }

  // A twentieth of the sources spikes, each onto kFan targets.
  template <class T>
  void add_events(const abi::EventLoops<T>& loops, const char* type) {
    const auto data = std::make_shared<CaseData>();
    int32_t* targets = data->draw<int32_t>(lanes_ * kFan, 0, 1);
    int32_t* ids = data->result<int32_t>(lanes_);
    T* spikes = data->draw<T>(lanes_, 0, 1);
    std::mt19937_64 rng(3);
    int64_t events = 0;
    for (int64_t i = 0; i < lanes_; ++i) {
      spikes[i] = T(rng() % 20 == 0);
      if (spikes[i] != T(0)) ids[events++] = int32_t(i);
      const int64_t gap = std::max<int64_t>(1, lanes_ / kFan);
      for (int64_t k = 0; k < kFan; ++k)
        targets[i * kFan + k] = int32_t(std::min(lanes_ - 1, k * gap + int64_t(rng() % gap)));
    }
    const abi::RowsView rows{nullptr, nullptr, kFan, lanes_ * kFan, targets};
    const auto delivered = std::make_shared<CaseData>(), summed = std::make_shared<CaseData>();
    abi::Deliver<T> d{};
    abi::Transposed<T> t{};
    d.rows = t.rows = rows;
    d.weights = t.weights = data->draw<T>(1, 0.5, 0.5);
    d.ids = ids;
    d.events = events;
    d.y = delivered->result<T>(lanes_);
    d.last = d.n_post = t.last = t.n_post = lanes_;
    t.spikes = spikes;
    t.dy = data->draw<T>(lanes_, -1, 1);
    t.d_spikes = summed->result<T>(lanes_);
    const double size = sizeof(T), n = double(lanes_), sent = double(events) * kFan;
    add(std::string("scan events") + type, false, n, n * size, data,
        [loops, spikes, ids, lanes = lanes_] { loops.scan(spikes, 0, lanes, ids); });
    add(std::string("deliver events") + type, false, sent, sent * (4 + 2 * size), delivered,
        [loops, d, data] { loops.deliver(d); });
    add(std::string("transposed product") + type, false, n * kFan, n * kFan * (4 + size), summed,
        [loops, t, data] { loops.transposed(t); });
  }

  void add_draws() {
    const abi::SparseLoops loops = *level_.sparse;
    const char* names[] = {"exponential", "uniform", "normal", "log-normal"};
    for (int law = 0; law < 4; ++law) {
      const auto data = std::make_shared<CaseData>();
      const abi::DrawValues a{7,
                              3,
                              9,
                              abi::Law(law),
                              1.0,
                              0.1,
                              0.0,
                              1.0,
                              -1e30f,
                              1e30f,
                              0,
                              lanes_,
                              data->result<float>(lanes_)};
      add(std::string("draw ") + names[law], true, double(lanes_), 4.0 * double(lanes_), data,
          [loops, a] { loops.draw_values(a); });
    }
    const auto gaps = std::make_shared<CaseData>();
    const abi::DrawGaps g{7, 3, 0, lanes_, -20.0, gaps->result<double>(lanes_)};
    add("draw gaps", true, double(lanes_), 8.0 * double(lanes_), gaps,
        [loops, g] { loops.draw_gaps(g); });
    const auto data = std::make_shared<CaseData>();
    int64_t* begins = data->draw<int64_t>(kBlock + 1, 0, 1);
    for (int64_t i = 0; i <= kBlock; ++i) begins[i] = i * kFan;
    abi::DrawRows r{};
    r.seed = 7;
    r.last = kBlock;
    r.fan = kFan;
    r.n_post = lanes_;
    r.begins = begins;
    r.targets = data->result<int32_t>(kBlock * kFan);
    r.room = data->words(abi::draw_room(r), false);
    const double drawn = double(kBlock * kFan);
    add("draw rows", true, drawn, 4 * drawn, data, [loops, r] { loops.draw_rows(r); });
  }

  const abi::Table& level_;
  const int64_t lanes_;
  std::vector<LevelCase> cases_;
};

}  // namespace spikexla
