// Many steps of a whole network in one call.
//
// Every population is cut into the same number of slices of neighbouring neurons. In each step one
// thread owns a slice: it delivers the last step's spikes to the slice's synapses, advances its
// neurons and lists their spikes. Nobody else writes there, so there are no atomics; each target
// adds its events in ascending order of projection and source, so the sums do not depend on the
// number of slices or threads. There is one meeting of the threads per step.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/parallel.h"
#include "cpu/sparse_table.h"

namespace spikexla {

// A group of exponential synapses that all neurons of one population have.
template <class T>
struct Port {
  T* g;
  abi::Stream<T> decay, value;
  bool conductance;
};

template <class T>
struct Population {
  const abi::NeuronRow* model;
  int64_t size;
  bool hard;
  T* state[abi::kMaxFields];
  abi::Stream<T> params[abi::kMaxFields], drive;
  std::vector<Port<T>> ports;
  uint32_t* raster;  // (steps, words()) bits, or null
  int64_t words() const { return (size + 31) / 32; }
};

// Sources [low, high) of population `pre` feed port `port` of population `post`.
template <class T>
struct Projection {
  int pre, post, port;
  int64_t low, high;
  abi::RowsView rows;
  const T* weights;
  int64_t weight_step;
};

template <class T>
class Network {
 public:
  Network(std::vector<Population<T>> populations, std::vector<Projection<T>> projections,
          int64_t steps)
      : populations_(std::move(populations)), projections_(std::move(projections)), steps_(steps) {}

  // Runs all steps on the caller and at most `helpers` threads of `pool`. The object must be held
  // by a shared_ptr: a helper that starts after the end still looks at it, and leaves. Returns
  // false, and touches nothing, if the targets of a projection are not sorted indices of its
  // population.
  template <class Pool>
  static bool run(const std::shared_ptr<Network>& self, Pool& pool, int64_t helpers) {
    if (!self->prepare(pool, helpers + 1)) return false;
    for (int k = 1; k < self->slices_; ++k)
      pool.Schedule(std::function<void()>([self, k] { self->work(k); }));
    self->work(0);
    return true;
  }

 private:
  static constexpr int64_t kBlock = abi::kBitsLanes;

  struct alignas(64) Claim {
    std::atomic<int64_t> step{0};     // the next step of this slice that nobody has taken
    std::atomic<bool> joined{false};  // whether the slice's own thread has started
  };
  struct Fired {
    std::vector<int32_t> ids;
    int64_t count = 0;
  };

  int64_t edge(int population, int64_t slice) const {  // a multiple of 64: whole words of spikes
    const int64_t n = populations_[population].size;
    return slice >= slices_ ? n : std::min(n, (n * slice / slices_ + 63) / 64 * 64);
  }
  Fired& fired(int64_t step, int population, int64_t slice) {
    return fired_[((step & 1) * populations_.size() + population) * slices_ + slice];
  }
  const abi::NeuronLoops<T>& loops(const Population<T>& p) const {
    if constexpr (sizeof(T) == 4) return p.model->f32;
    else return p.model->f64;
  }
  const abi::SynapseLoops<T>& synapses() const {
    if constexpr (sizeof(T) == 4) return abi::table().synapse_f32;
    else return abi::table().synapse_f64;
  }

  template <class Pool>
  bool prepare(Pool& pool, int64_t threads) {
    int64_t neurons = 0;
    for (const auto& p : populations_) neurons += p.size;
    slices_ = std::max<int64_t>(1, std::min(threads, neurons / 1024));
    claims_ = std::vector<Claim>(size_t(slices_));
    fired_.resize(2 * populations_.size() * slices_);
    for (size_t p = 0; p < populations_.size(); ++p)
      for (int64_t s = 0; s < slices_; ++s)
        for (int64_t t = 0; t < 2; ++t) fired(t, p, s).ids.resize(edge(p, s + 1) - edge(p, s));
    cuts_.resize(projections_.size());
    std::atomic<bool> sound{true};
    for (size_t k = 0; k < projections_.size(); ++k) {
      const auto& q = projections_[k];
      const int64_t rows = q.high - q.low, chunk = 4096;
      cuts_[k].resize(rows * (slices_ - 1));
      parallel_for(pool, (rows + chunk - 1) / chunk, threads - 1, [&](int64_t task) {
        for (int64_t row = task * chunk; row < std::min(rows, (task + 1) * chunk); ++row)
          if (!is_sound(q, row)) sound = false;
          else cut_row(k, row);
      });
    }
    if (sound) list_initial_spikes();
    return sound;
  }

  bool is_sound(const Projection<T>& q, int64_t row) const {
    const int64_t from = begin(q, row), to = begin(q, row + 1);
    if (from < 0 || from > to || to > q.rows.total) return false;
    bool sorted = true;
    for (int64_t j = from + 1; j < to; ++j) sorted &= q.rows.targets[j - 1] <= q.rows.targets[j];
    return from == to || (sorted && q.rows.targets[from] >= 0 &&
                          q.rows.targets[to - 1] < populations_[q.post].size);
  }

  // Lists the spikes that the states stand for, as those of the step before the first.
  void list_initial_spikes() {
    uint32_t bits[kBlock / 32];
    for (size_t p = 0; p < populations_.size(); ++p)
      for (int64_t s = 0; s < slices_; ++s) {
        Fired& f = fired(1, p, s);
        f.count = 0;
        for (int64_t first = edge(p, s); first < edge(p, s + 1); first += kBlock) {
          const int64_t lanes = std::min(kBlock, edge(p, s + 1) - first);
          abi::NeuronBits<T> a = neuron_block(populations_[p], first, lanes);
          a.still = true;
          a.bits = bits;
          loops(populations_[p]).bits(a);
          list(bits, first, lanes, &f);
        }
      }
  }

  // Where the targets of one source cross from slice to slice, relative to the start of its row.
  void cut_row(size_t k, int64_t row) {
    const auto& q = projections_[k];
    const int32_t* from = q.rows.targets + begin(q, row);
    const int32_t* to = q.rows.targets + begin(q, row + 1);
    for (int64_t s = 1; s < slices_; ++s)
      cuts_[k][row * (slices_ - 1) + s - 1] =
          uint32_t(std::lower_bound(from, to, edge(q.post, s)) - from);
  }

  static int64_t begin(const Projection<T>& q, int64_t row) {
    return q.rows.small ? q.rows.small[row] : q.rows.large ? q.rows.large[row] : row * q.rows.fan;
  }

  void work(int64_t home) {
    const FlushDenormals flush;
    claims_[home].joined.store(true, std::memory_order_release);
    for (int64_t t = done_.load(std::memory_order_acquire) / slices_; t < steps_; ++t) {
      for (int64_t k = 0; k < slices_; ++k) {
        const int64_t slice = (home + k) % slices_;
        if (k > 0) leave_to_owner(slice, t);
        int64_t expected = t;
        if (!claims_[slice].step.compare_exchange_strong(expected, t + 1)) continue;
        advance(slice, t);
        done_.fetch_add(1, std::memory_order_acq_rel);
      }
      Backoff backoff;
      while (done_.load(std::memory_order_acquire) < (t + 1) * slices_) backoff.wait();
    }
  }

  // A slice stays in its owner's cache, so an owner at work gets a moment to take it. One that has
  // not started, or was put to sleep by a busy machine, does not hold up the others.
  void leave_to_owner(int64_t slice, int64_t t) {
    if (!claims_[slice].joined.load(std::memory_order_acquire)) return;
    Backoff backoff;
    for (int k = 0; k < 300 && claims_[slice].step.load(std::memory_order_relaxed) == t; ++k)
      backoff.wait();
  }

  void advance(int64_t slice, int64_t t) {
    if (t == 0) decay(slice);
    for (size_t k = 0; k < projections_.size(); ++k) deliver(k, slice, t);
    for (size_t p = 0; p < populations_.size(); ++p) dense(p, slice, t);
  }

  // g decays once before each step's spikes arrive; later steps do it at the end of the one before.
  void decay(int64_t slice) {
    for (size_t p = 0; p < populations_.size(); ++p)
      for (auto& port : populations_[p].ports)
        synapses().decay(synapse_block(port, edge(p, slice), edge(p, slice + 1) - edge(p, slice)));
  }

  void deliver(size_t k, int64_t slice, int64_t t) {
    const Projection<T>& q = projections_[k];
    T* g = populations_[q.post].ports[q.port].g;
    for (int64_t s = 0; s < slices_; ++s) {
      const Fired& f = fired(t + 1, q.pre, s);  // the other half of the double buffer: step t - 1
      const int32_t* first = std::lower_bound(f.ids.data(), f.ids.data() + f.count, q.low);
      const int32_t* last = std::lower_bound(first, f.ids.data() + f.count, q.high);
      deliver_rows(k, slice, first, last, g);
    }
  }

  void deliver_rows(size_t k, int64_t slice, const int32_t* first, const int32_t* last, T* g) {
    constexpr int kAhead = 6;  // rows to fetch ahead: a row is a few cache lines, far away
    const Projection<T>& q = projections_[k];
    const int32_t* targets = q.rows.targets;
    const int64_t cuts = slices_ - 1;
    const auto span = [&](int64_t row, int64_t* from, int64_t* to) {
      const int64_t start = begin(q, row);
      *from = slice == 0 ? start : start + cuts_[k][row * cuts + slice - 1];
      *to = slice == cuts ? begin(q, row + 1) : start + cuts_[k][row * cuts + slice];
    };
    for (const int32_t* id = first; id < last; ++id) {
      if (id + 2 * kAhead < last) {
        const int64_t far = id[2 * kAhead] - q.low;
        if (cuts) __builtin_prefetch(&cuts_[k][far * cuts]);
        if (q.rows.small) __builtin_prefetch(q.rows.small + far);
        if (q.rows.large) __builtin_prefetch(q.rows.large + far);
      }
      if (id + kAhead < last) {
        int64_t from, to;
        span(id[kAhead] - q.low, &from, &to);
        for (int64_t j = from; j < to; j += 16) __builtin_prefetch(targets + j);
        if (q.weight_step)
          for (int64_t j = from; j < to; j += 64 / sizeof(T)) __builtin_prefetch(q.weights + j);
      }
      int64_t from, to;
      span(*id - q.low, &from, &to);
      if (q.weight_step) {
        for (int64_t j = from; j < to; ++j) g[targets[j]] += q.weights[j];
      } else {
        const T w = *q.weights;
        for (int64_t j = from; j < to; ++j) g[targets[j]] += w;
      }
    }
  }

  abi::SynapseBlock<T> synapse_block(const Port<T>& port, int64_t first, int64_t lanes) const {
    abi::SynapseBlock<T> b{};
    b.lanes = lanes;
    b.conductance = port.conductance;
    b.g = port.g + first;
    b.decay = {port.decay.at + first * port.decay.lane, port.decay.lane, 0};
    b.value = {port.value.at + first * port.value.lane, port.value.lane, 0};
    return b;
  }

  void dense(int p, int64_t slice, int64_t t) {
    Population<T>& pop = populations_[p];
    Fired& f = fired(t, p, slice);
    f.count = 0;
    for (int64_t first = edge(p, slice); first < edge(p, slice + 1); first += kBlock)
      dense_block(pop, first, std::min(kBlock, edge(p, slice + 1) - first), t, &f);
  }

  void dense_block(Population<T>& pop, int64_t first, int64_t lanes, int64_t t, Fired* f) {
    alignas(64) T I[kBlock], G[kBlock];
    uint32_t bits[kBlock / 32];
    synapses().start(lanes, {pop.drive.at + first * pop.drive.lane, pop.drive.lane, 0}, I, G);
    for (const Port<T>& port : pop.ports) {
      abi::SynapseBlock<T> b = synapse_block(port, first, lanes);
      b.decays = t + 1 < steps_;  // the last step leaves g as a step-by-step run would
      b.I = I;
      b.G = G;
      synapses().drive(b);
    }
    const T none = T(0);
    abi::NeuronBits<T> a = neuron_block(pop, first, lanes);
    int x = 0;
    a.inputs[x++] = {I, 1, 0};
    if (pop.model->num_inputs == 3) a.inputs[x++] = {G, 1, 0};
    a.inputs[x++] = {&none, 0, 0};
    a.bits = pop.raster ? pop.raster + t * pop.words() + first / 32 : bits;
    loops(pop).bits(a);
    list(a.bits, first, lanes, f);
  }

  abi::NeuronBits<T> neuron_block(const Population<T>& pop, int64_t first, int64_t lanes) const {
    abi::NeuronBits<T> a{};
    a.lanes = lanes;
    a.hard = pop.hard;
    for (int k = 0; k < pop.model->num_state; ++k) a.state[k] = pop.state[k] + first;
    for (int k = 0; k < pop.model->num_params; ++k)
      a.params[k] = {pop.params[k].at + first * pop.params[k].lane, pop.params[k].lane, 0};
    return a;
  }

  static void list(const uint32_t* bits, int64_t first, int64_t lanes, Fired* f) {
    for (int64_t w = 0; w * 32 < lanes; ++w)
      for (uint32_t word = bits[w]; word != 0; word &= word - 1)
        f->ids[f->count++] = int32_t(first + w * 32 + __builtin_ctz(word));
  }

  std::vector<Population<T>> populations_;
  std::vector<Projection<T>> projections_;
  int64_t steps_, slices_ = 1;
  std::vector<Claim> claims_;
  std::vector<Fired> fired_;                 // [step parity][population][slice]
  std::vector<std::vector<uint32_t>> cuts_;  // [projection][source row][slice - 1]
  std::atomic<int64_t> done_{0};             // slices finished, over all steps
};

}  // namespace spikexla
