// Many steps of a whole network in one call.
//
// Every population is cut into slices of neighbouring neurons (slices.h), whose synaptic inputs lie
// together in memory of their own for the time of the call, small enough for a cache. In each step
// one thread takes a slice: it adds what arrives, delay by delay, advances the slice's neurons and
// lists their spikes. Nobody else writes there, so there are no atomics; each target adds its
// events in ascending order of delay, projection and source, so the sums do not depend on the
// number of slices or threads. There is one meeting of the threads per step; the last one there
// collects the spikes of all slices.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "cpu/cores.h"
#include "cpu/dispatch.h"
#include "cpu/drawn_rows.h"
#include "cpu/failure.h"
#include "cpu/meeting.h"
#include "cpu/network_parts.h"
#include "cpu/probe.h"
#include "cpu/slices.h"

namespace spikexla {

template <class T>
class Network {
 public:
  Network(std::vector<Population<T>> populations, Synapses<T> synapses, Slices slices,
          Probes<T> probes, int64_t steps)
      : populations_(std::move(populations)),
        synapses_(std::move(synapses)),
        slices_(std::move(slices)),
        probes_(std::move(probes)),
        steps_(steps),
        meeting_(slices_.count()) {}

  // Runs all steps on the caller and at most `helpers` threads of `pool`. The object must be held
  // by a shared_ptr: a helper that starts after the end still looks at it, and leaves.
  template <class Pool>
  static void run(const std::shared_ptr<Network>& self, Pool& pool, int64_t helpers) {
    self->failure_.guard([&] { self->prepare(std::min(helpers + 1, self->slices_.count())); });
    if (self->failure_.why()) return;
    self->failure_.guard([&] {
      for (size_t k = 1; k < self->workers_.size(); ++k)
        pool.Schedule(std::function<void()>([self, k] { self->work(k); }));
    });
    self->work(0);
    self->save_history();
    self->drawn_.reset();  // late helpers hold the network, but need no rows and no Python objects
    self->synapses_.rows.reset();
  }

  // Why there are no results, if so.
  const Failure& failure() const { return failure_; }

 private:
  static constexpr int64_t kBlock = abi::kBitsLanes;
  static constexpr size_t kAhead = 8;   // runs to fetch ahead: each is a few cache lines, far away
  static constexpr int kCourtesy = 64;  // pauses that an owner gets to take its slice: microseconds

  struct Run {
    int64_t from, to;  // of the synapses
    int32_t row;
  };
  struct alignas(64) Slice {
    std::atomic<int64_t> taken{0};  // its steps that somebody has taken
    std::vector<T> inputs;
    std::vector<Fired> fired;  // of each population, in the last step
  };
  struct alignas(64) Worker {
    std::atomic<bool> joined{false};
    std::vector<Run> runs;
  };

  // Rows whose source spiked in the step before `step`, which may be before the first.
  std::vector<int32_t>& arriving(int64_t step) {
    const int64_t ring = synapses_.kept + 1;
    return arriving_[(step % ring + ring) % ring];
  }
  const abi::NeuronLoops<T>& loops(const Population<T>& p) const {
    if constexpr (sizeof(T) == 4) return p.model->f32;
    else return p.model->f64;
  }
  const abi::SynapseLoops<T>& synapses() const {
    if constexpr (sizeof(T) == 4) return abi::table().synapse_f32;
    else return abi::table().synapse_f64;
  }

  void prepare(int64_t workers) {
    workers_ = std::vector<Worker>(size_t(workers));
    owned_ = std::vector<Slice>(size_t(slices_.count()));
    arriving_.resize(synapses_.kept + 1);
    for (int64_t s = 0; s < slices_.count(); ++s) {
      owned_[s].fired.resize(populations_.size());
      for (size_t p = 0; p < populations_.size(); ++p)
        owned_[s].fired[p].ids.reset(new int32_t[slices_.length(p, s)]);
    }
    list_history();
    list_initial_spikes();
    gather(0);
    if (synapses_.rows) draw_rows_under_way();
  }

  void draw_rows_under_way() {
    drawn_ = std::make_unique<DrawnRows<T>>(synapses_.rows, synapses_.kept, failure_);
    on_all_cores(slices_.count(), INT64_MAX, [&](int64_t s) {
      failure_.guard([&] {
        draw(s, 0);
        for (int64_t j = 0; j < synapses_.kept; ++j) draw_history(s, j);
      });
    });
  }

  void draw_history(int64_t s, int64_t j) {
    std::vector<int32_t> rows;
    each_under_way(j, [&](int64_t row, int64_t pre, int64_t id) {
      if (id >= slices_.edge(pre, s) && id < slices_.edge(pre, s + 1)) rows.push_back(int32_t(row));
    });
    drawn_->draw(s, -1 - j, rows);
  }

  // Draws the rows of this slice's sources that spiked in the step before `t`.
  void draw(int64_t s, int64_t t) {
    std::vector<int32_t> rows;
    for (const Sources& q : synapses_.sources) append_fired(q, s, &rows);
    drawn_->draw(s, t, rows);
  }

  // Lists the rows of the spikes under way.
  void list_history() {
    for (int64_t j = 0; j < synapses_.kept; ++j) {
      auto& rows = arriving(-1 - j);
      each_under_way(j, [&](int64_t row, int64_t, int64_t) { rows.push_back(int32_t(row)); });
    }
  }

  // Calls visit(row, population, neuron), in ascending order, for what row j of the histories says.
  template <class Visit>
  void each_under_way(int64_t j, const Visit& visit) const {
    for (const Sources& q : synapses_.sources) {
      const auto& p = populations_[q.pre];
      for (int64_t w = q.low / 32; w * 32 < q.high; ++w)
        for (uint32_t word = p.history[j * p.words() + w]; word != 0; word &= word - 1) {
          const int64_t id = w * 32 + __builtin_ctz(word);
          if (id >= q.low && id < q.high) visit(q.row + id - q.low, q.pre, id);
        }
    }
  }

  // Lists the spikes that the states stand for, as those of the step before the first.
  void list_initial_spikes() {
    uint32_t bits[kBlock / 32];
    for (size_t p = 0; p < populations_.size(); ++p)
      for (int64_t s = 0; s < slices_.count(); ++s) {
        Fired& f = owned_[s].fired[p];
        for (int64_t first = slices_.edge(p, s); first < slices_.edge(p, s + 1); first += kBlock) {
          const int64_t lanes = std::min(kBlock, slices_.edge(p, s + 1) - first);
          abi::NeuronBits<T> a = neuron_block(populations_[p], first, lanes);
          a.still = true;
          a.bits = bits;
          loops(populations_[p]).bits(a);
          f.list(bits, first, lanes);
        }
      }
  }

  void work(int64_t me) {
    const FlushDenormals flush;
    const int64_t count = slices_.count(), workers = int64_t(workers_.size());
    workers_[me].joined.store(true, std::memory_order_release);
    for (int64_t t = meeting_.opened() - 1; t < steps_; ++t) {
      for (int64_t k = 0; k < count; ++k) {
        const int64_t s = (me * count / workers + k) % count;
        const int64_t owner = ((s + 1) * workers - 1) / count;
        if (owner != me) leave_to_owner(s, owner, t);
        int64_t expected = t;
        if (!owned_[s].taken.compare_exchange_strong(expected, t + 1)) continue;
        failure_.guard([&] { advance(s, t, &workers_[me].runs); });
        if (!meeting_.finish()) continue;
        failure_.guard([&] { gather(t + 1); });
        meeting_.open();
      }
      meeting_.wait_for(t + 2);
    }
  }

  // A slice stays in its owner's cache, so an owner at work gets a moment to take it. One that has
  // not started, or was put to sleep by a busy machine, does not hold up the others.
  void leave_to_owner(int64_t s, int64_t owner, int64_t t) {
    if (!workers_[owner].joined.load(std::memory_order_acquire)) return;
    for (int k = 0; k < kCourtesy && owned_[s].taken.load(std::memory_order_relaxed) == t; ++k)
      pause();
  }

  void advance(int64_t s, int64_t t, std::vector<Run>* runs) {
    if (t == 0) load(s);
    if (drawn_) {
      drawn_->deliver(s, t, owned_[s].inputs.data());
    } else {
      list_runs(s, t, runs);
      if (synapses_.by_synapse) {
        if (synapses_.narrow) deliver<true>(s, *runs, synapses_.narrow);
        else deliver<true>(s, *runs, synapses_.wide);
      } else {
        if (synapses_.narrow) deliver<false>(s, *runs, synapses_.narrow);
        else deliver<false>(s, *runs, synapses_.wide);
      }
    }
    for (size_t p = 0; p < populations_.size(); ++p) dense(p, s, t);
    if (t + 1 == steps_) store(s);
    else if (drawn_) draw(s, t + 1);
  }

  // Brings the slice's g into its own memory. g decays once before each step's spikes arrive; later
  // steps do it at the end of the one before.
  void load(int64_t s) {
    owned_[s].inputs.resize(slices_.inputs(s));
    for (size_t p = 0; p < populations_.size(); ++p)
      for (size_t k = 0; k < populations_[p].ports.size(); ++k) {
        const T* from = populations_[p].ports[k].g + slices_.edge(p, s);
        std::copy(from, from + slices_.length(p, s), input(s, p, k));
      }
    for (size_t p = 0; p < populations_.size(); ++p)
      if (const int64_t lanes = slices_.length(p, s)) {
        abi::SynapseBlock<T> b = synapse_block(s, p, slices_.edge(p, s), lanes);
        synapses().decay(b);
      }
  }

  void store(int64_t s) {
    for (size_t p = 0; p < populations_.size(); ++p)
      for (size_t k = 0; k < populations_[p].ports.size(); ++k)
        std::copy_n(input(s, p, k), slices_.length(p, s),
                    populations_[p].ports[k].g + slices_.edge(p, s));
  }

  // Writes back which spikes are still under way.
  void save_history() {
    if (synapses_.kept == 0) return;
    for (auto& p : populations_) std::fill_n(p.history, synapses_.kept * p.words(), 0u);
    for (int64_t j = 0; j < synapses_.kept; ++j) {
      const auto& rows = arriving(steps_ - 1 - j);
      auto row = rows.begin();
      for (const Sources& q : synapses_.sources)
        for (; row != rows.end() && *row < q.row + q.high - q.low; ++row) {
          const int64_t id = q.low + *row - q.row;
          auto& p = populations_[q.pre];
          p.history[j * p.words() + id / 32] |= uint32_t{1} << id % 32;
        }
    }
  }

  // Collects the rows whose sources spiked in the step before `t`, in ascending order.
  void gather(int64_t t) {
    auto& rows = arriving(t);
    rows.clear();
    for (const Sources& q : synapses_.sources)
      for (int64_t s = 0; s < slices_.count(); ++s) append_fired(q, s, &rows);
  }

  // The rows of bundle `q` whose source lies in slice `s` and spiked in its last step.
  void append_fired(const Sources& q, int64_t s, std::vector<int32_t>* rows) const {
    const Fired& f = owned_[s].fired[q.pre];
    const int32_t* end = f.ids.get() + f.count;
    const int32_t* id = std::lower_bound<const int32_t*>(f.ids.get(), end, q.low);
    for (; id < end && *id < q.high; ++id) rows->push_back(int32_t(q.row + *id - q.low));
  }

  // Adds the runs that arrive in this step: of each delay, of every row that spiked so long ago.
  // Not inlined, so that its inner loop has the registers.
  template <bool kBySynapse, class Index>
  [[gnu::noinline]] void deliver(int64_t s, const std::vector<Run>& runs, const Index* targets) {
    const T* weights = synapses_.weights;
    T* g = owned_[s].inputs.data();
    const size_t n = runs.size() - kAhead;
    for (size_t i = 0; i < n; ++i) {
      fetch<kBySynapse>(targets, weights, runs[i + kAhead]);
      const Run& run = runs[i];
      if (kBySynapse) {
        for (int64_t j = run.from; j < run.to; ++j) g[targets[j]] += weights[j];
      } else {
        const T w = weights[run.row];
        for (int64_t j = run.from; j < run.to; ++j) g[targets[j]] += w;
      }
    }
  }

  // Where they are, and some runs of nothing behind them. This is a loop of its own because it
  // waits for memory: its turns do not depend on each other, so the processor waits for many at a
  // time.
  [[gnu::noinline]] void list_runs(int64_t s, int64_t t, std::vector<Run>* runs) {
    const int64_t width = slices_.count() * synapses_.delays + 1;
    runs->clear();
    for (int64_t d = 0; d < synapses_.delays; ++d) {
      const uint32_t* ends = synapses_.runs + s * synapses_.delays + d;
      for (const int32_t row : arriving(t - synapses_.first_delay - d)) {
        const int64_t start = synapses_.starts[row];
        const uint32_t* at = ends + row * width;
        runs->push_back({start + at[0], start + at[1], row});
      }
    }
    runs->resize(runs->size() + kAhead);
  }

  template <bool kBySynapse, class Index>
  static void fetch(const Index* targets, const T* weights, const Run& run) {
    for (int64_t j = run.from; j < run.to; j += 64 / sizeof(Index)) __builtin_prefetch(targets + j);
    if (kBySynapse)
      for (int64_t j = run.from; j < run.to; j += 64 / sizeof(T)) __builtin_prefetch(weights + j);
  }

  T* input(int64_t s, int64_t population, int64_t port) {
    return owned_[s].inputs.data() + slices_.input(population, port, s);
  }

  abi::SynapseBlock<T> synapse_block(int64_t s, int64_t p, int64_t first, int64_t lanes) {
    const Population<T>& pop = populations_[p];
    const auto from = [first](const abi::Stream<T>& x) {
      return abi::Stream<T>{x.at + first * x.lane, x.lane, 0};
    };
    abi::SynapseBlock<T> b;  // not zeroed, for that takes longer than all else here
    b.lanes = lanes;
    b.ports = int(pop.ports.size());
    b.current = from(pop.drive);
    for (int k = 0; k < b.ports; ++k) {
      b.g[k] = input(s, p, k) + first - slices_.edge(p, s);
      b.conductance[k] = pop.ports[k].conductance;
      b.decay[k] = from(pop.ports[k].decay);
      b.value[k] = from(pop.ports[k].value);
    }
    return b;
  }

  void dense(int64_t p, int64_t s, int64_t t) {
    Fired& f = owned_[s].fired[p];
    f.count = 0;
    const int64_t edge = slices_.edge(p, s), end = slices_.edge(p, s + 1);
    const int64_t fields = populations_[p].model->num_state;
    // The last step leaves g as a step-by-step run would, and so does one whose g is read.
    const bool read = probes_.due(p, t, fields), decays = t + 1 < steps_;
    for (int64_t first = edge; first < end; first += kBlock)
      dense_block(p, s, first, std::min(kBlock, end - first), t, decays && !read, &f);
    probes_.take(p, t, edge, end, [&](int64_t variable) -> const T* {
      return variable < fields ? populations_[p].state[variable] + edge
                               : input(s, p, variable - fields);
    });
    if (!decays || !read) return;
    abi::SynapseBlock<T> b = synapse_block(s, p, edge, end - edge);
    synapses().decay(b);
  }

  void dense_block(int64_t p, int64_t s, int64_t first, int64_t lanes, int64_t t, bool decays,
                   Fired* f) {
    Population<T>& pop = populations_[p];
    alignas(64) T I[kBlock], G[kBlock];
    uint32_t bits[kBlock / 32];
    abi::SynapseBlock<T> b = synapse_block(s, p, first, lanes);
    for (const Poisson<T>& q : pop.poissons)
      synapses().poisson({lanes,
                          b.g[q.port],
                          q.rng + first,
                          q.thresholds,
                          q.num_thresholds,
                          {q.weight.at + first * q.weight.lane, q.weight.lane, 0}});
    b.decays = decays;
    b.I = I;
    b.G = G;
    synapses().drive(b);
    alignas(64) static constexpr T none[kBlock] = {};
    abi::NeuronBits<T> a = neuron_block(pop, first, lanes);
    a.knows_G = b.knows_G;
    a.largest_G = b.largest_G;
    for (int x = 0; x < pop.model->num_inputs; ++x) a.inputs[x] = {none, 1, 0};
    if (pop.model->takes_I >= 0) a.inputs[pop.model->takes_I] = {I, 1, 0};
    if (pop.model->takes_G >= 0) a.inputs[pop.model->takes_G] = {G, 1, 0};
    a.bits = pop.raster ? pop.raster + t * pop.words() + first / 32 : bits;
    loops(pop).bits(a);
    f->list(a.bits, first, lanes);
  }

  std::vector<Population<T>> populations_;
  Synapses<T> synapses_;
  Slices slices_;
  Probes<T> probes_;
  int64_t steps_;
  std::vector<Worker> workers_;
  std::vector<Slice> owned_;
  std::vector<std::vector<int32_t>> arriving_;  // rows that spiked, of the last steps: a ring
  std::unique_ptr<DrawnRows<T>> drawn_;         // null: they are stored
  Meeting meeting_;
  Failure failure_;
};

}  // namespace spikexla
