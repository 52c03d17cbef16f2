// The plan and the buffers of network_run, read and checked for the handlers of all platforms.
//
// plan   slices; populations, {model, size, hard, ports, Poisson inputs} each; {conductance} each
//        port; {port} each Poisson input;
//        first delay, delays, steps of spikes kept, whether synapses are stored, whether weights
//        are one a synapse (else one a row), bundles, {pre, low, high} each;
//        probes, {population, variable, every} each           (probe.h; on the CPU only)
// args   states..., g..., histories..., generators...         (in place: also the first results)
//        {params..., drive} each population, {decay, value} each port,
//        {thresholds, weight} each Poisson input,
//        starts, runs, targets, weights,                      (wiring.h); if not stored, starts is
//        the number under which their source is lent (row_source.h), and the others are empty
//        {index, phase} each probe
// rets   states..., g..., histories..., generators..., rasters..., traces...
//        histories are (steps kept, ceil(size / 32)) uint32, rasters (steps, ceil(size / 32)) or
//        without elements, traces (ceil(steps / every), neurons); rows past the end are 0
//
// What the synapses hold was checked when they were packed; here, that they have the sizes of the
// network.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cpu/network.h"
#include "ffi/buffers.h"
#include "fields.h"

namespace spikexla {

// Brings an operand into a result; false if it could not.
using Copy = std::function<bool(void* to, const void* from, size_t bytes)>;

// Takes the arguments in order and remembers the first complaint.
class Reader {
 public:
  // Without a `copy`, the arrays lie in this machine's own memory, and can be looked into.
  Reader(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> plan,
         Copy copy = nullptr)
      : args_(args), rets_(rets), plan_(plan), copy_(std::move(copy)) {}

  bool in_own_memory() const { return !copy_; }

  int64_t number() {
    return at_ < plan_.size() ? plan_[at_++] : (fail("the plan is too short"), 0);
  }
  ffi::AnyBuffer arg() { return *args_.get<ffi::AnyBuffer>(arg_++); }
  bool has_args(size_t n) { return arg_ + n <= args_.size() || (fail("too few arrays"), false); }
  bool has_rets(size_t n) { return ret_ + n <= rets_.size() || (fail("too few results"), false); }

  // The next result, with the operand that it starts from copied in if XLA did not share the
  // memory.
  template <class T>
  T* in_place(int64_t size) {
    if (!has_args(1) || !has_rets(1)) return nullptr;
    const ffi::AnyBuffer from = arg();
    ffi::AnyBuffer to = **rets_.get<ffi::AnyBuffer>(ret_++);
    if (int64_t(from.element_count()) != size || int64_t(to.element_count()) != size)
      return fail("a state array has not the size of its population"), nullptr;
    if (from.untyped_data() != to.untyped_data()) {
      if (!copy_) std::memcpy(to.untyped_data(), from.untyped_data(), from.size_bytes());
      else if (!copy_(to.untyped_data(), from.untyped_data(), from.size_bytes()))
        fail("a state could not be copied");
    }
    return reinterpret_cast<T*>(to.untyped_data());
  }

  // A parameter: one for all neurons or one each.
  template <class T>
  abi::Stream<T> stream(int64_t size) {
    if (!has_args(1)) return {};
    const ffi::AnyBuffer b = arg();
    const int64_t n = b.element_count();
    if (n != 1 && n != size) fail("a parameter has " + std::to_string(n) + " values");
    return {reinterpret_cast<const T*>(b.untyped_data()), n == 1 ? 0 : 1, 0};
  }

  const uint32_t* words(int64_t* count) {
    if (!has_args(1)) return nullptr;
    const ffi::AnyBuffer b = arg();
    if (b.element_type() != ffi::U32) fail("thresholds must be uint32");
    *count = b.element_count();
    return reinterpret_cast<const uint32_t*>(b.untyped_data());
  }

  uint32_t* raster(int64_t steps, int64_t words) {
    if (!has_rets(1)) return nullptr;
    ffi::AnyBuffer b = **rets_.get<ffi::AnyBuffer>(ret_++);
    if (b.element_count() == 0) return nullptr;
    if (b.element_type() != ffi::U32 || int64_t(b.element_count()) != steps * words)
      return fail("a raster has not the shape (steps, words)"), nullptr;
    return reinterpret_cast<uint32_t*>(b.untyped_data());
  }

  const int32_t* whole_numbers(int64_t* count) {
    if (!has_args(1)) return nullptr;
    const ffi::AnyBuffer b = arg();
    if (b.element_type() != ffi::S32) fail("neurons and steps of a probe must be int32");
    *count = b.element_count();
    return reinterpret_cast<const int32_t*>(b.untyped_data());
  }

  template <class T>
  T* result(int64_t size) {
    if (!has_rets(1)) return nullptr;
    ffi::AnyBuffer b = **rets_.get<ffi::AnyBuffer>(ret_++);
    if (int64_t(b.element_count()) != size)
      return fail("a trace has not the shape (samples, neurons)"), nullptr;
    return reinterpret_cast<T*>(b.untyped_data());
  }

  void fail(const std::string& message) {
    if (complaint_.empty()) complaint_ = message;
  }
  bool ok() const { return complaint_.empty(); }
  const std::string& complaint() const { return complaint_; }

 private:
  ffi::RemainingArgs args_;
  ffi::RemainingRets rets_;
  ffi::Span<const int64_t> plan_;
  size_t at_ = 0, arg_ = 0, ret_ = 0;
  Copy copy_;
  std::string complaint_;
};

// A network as its handler was given it.
template <class T>
struct NetworkPlan {
  std::vector<Population<T>> populations;
  Synapses<T> synapses;
  Slices slices;
  std::vector<Probe<T>> probes;
  bool stored = true;
  const uint64_t* lent = nullptr;  // not stored: the number of what they are drawn from
  int64_t rows = 0, total = 0;     // of the synapses
};

// The synapses and where they come from; targets are trusted, all else is checked.
template <class T>
void read_synapses(Reader& r, NetworkPlan<T>* plan) {
  if (!r.ok() || !r.has_args(4)) return;
  Synapses<T>& w = plan->synapses;
  const ffi::AnyBuffer starts = r.arg(), runs = r.arg(), targets = r.arg(), weights = r.arg();
  if (!plan->stored) {
    if (!r.in_own_memory()) r.fail("rows are drawn on the CPU only: store the synapses");
    else if (starts.size_bytes() != sizeof(uint64_t)) r.fail("the rows are lent without a number");
    else plan->lent = reinterpret_cast<const uint64_t*>(starts.untyped_data());
    return;
  }
  const int64_t rows = plan->rows =
      w.sources.empty() ? 0 : w.sources.back().row + w.sources.back().high - w.sources.back().low;
  const int64_t width = plan->slices.count() * w.delays + 1;
  const int64_t total = plan->total = targets.element_count();
  w.starts = reinterpret_cast<const int64_t*>(starts.untyped_data());
  w.runs = reinterpret_cast<const uint32_t*>(runs.untyped_data());
  w.weights = reinterpret_cast<const T*>(weights.untyped_data());
  if (targets.element_type() == ffi::U16)
    w.narrow = reinterpret_cast<const uint16_t*>(targets.untyped_data());
  else w.wide = reinterpret_cast<const uint32_t*>(targets.untyped_data());
  // JAX has no 64-bit integers by default: starts are pairs of words.
  if (int64_t(starts.element_count()) != 2 * (rows + 1) || starts.element_type() != ffi::U32 ||
      runs.element_type() != ffi::U32 || int64_t(runs.element_count()) != rows * width ||
      (targets.element_type() != ffi::U16 && targets.element_type() != ffi::U32) ||
      int64_t(weights.element_count()) != (w.by_synapse ? total : rows) ||
      (r.in_own_memory() && w.starts[rows] != total))
    r.fail("the packed synapses do not fit the populations");
}

template <class T>
Synapses<T> read_sources(Reader& r, const std::vector<Population<T>>& pops, bool* stored) {
  Synapses<T> w{};
  w.first_delay = r.number();
  w.delays = r.number();
  w.kept = r.number();
  *stored = r.number() != 0;
  w.by_synapse = r.number() != 0;
  if (w.first_delay < 0 || w.delays < 1 || w.kept < w.first_delay + w.delays - 1)
    r.fail("delays are 0 or more steps, and not more than are kept");
  int64_t row = 0;
  const int64_t bundles = r.number();
  for (int64_t k = 0; k < bundles && r.ok(); ++k) {
    const Sources q{r.number(), r.number(), r.number(), row};
    if (q.pre < 0 || q.pre >= int64_t(pops.size()) || q.low < 0 || q.low > q.high ||
        q.high > pops[q.pre].size)
      r.fail("a bundle names sources that do not exist");
    row += q.high - q.low;
    w.sources.push_back(q);
  }
  return w;
}

// The probes as the plan has them; their arrays come later.
template <class T>
std::vector<Probe<T>> read_probes(Reader& r, const std::vector<Population<T>>& pops) {
  std::vector<Probe<T>> probes(std::max<int64_t>(0, r.number()));
  if (!probes.empty() && !r.in_own_memory())
    return r.fail("traces are written on the CPU only; step the network in a loop"), probes;
  for (auto& q : probes) {
    q.population = r.number();
    q.variable = r.number();
    q.every = r.number();
    if (!r.ok() || q.population < 0 || q.population >= int64_t(pops.size()) || q.every < 1)
      return r.fail("a probe reads no population, or never"), probes;
    const auto& p = pops[q.population];
    if (q.variable < 0 || q.variable >= p.model->num_state + int64_t(p.ports.size()))
      r.fail("a probe reads a variable that its population has not");
  }
  return probes;
}

template <class T>
void read_indices(Reader& r, const std::vector<Population<T>>& pops, Probe<T>& q) {
  int64_t one = 0;
  q.index = r.whole_numbers(&q.count);
  const int32_t* phase = r.whole_numbers(&one);
  if (!r.ok()) return;
  q.phase = one == 1 ? *phase : -1;
  if (q.phase < 0 || q.phase >= q.every)
    r.fail("a probe's phase is one number from 0 to every - 1");
  for (int64_t k = 0; k < q.count; ++k)
    if (q.index[k] < 0 || q.index[k] >= pops[q.population].size ||
        (k > 0 && q.index[k] <= q.index[k - 1]))
      return r.fail("a probe's neurons are not of its population, or not in ascending order");
}

template <class T>
void read_traces(Reader& r, Probe<T>& q, int64_t steps) {
  const int64_t rows = (steps + q.every - 1) / q.every;
  q.rows = r.result<T>(rows * q.count);
  if (r.ok() && steps > 0 && q.phase + (rows - 1) * q.every >= steps)
    std::fill_n(q.rows + (rows - 1) * q.count, q.count, T(0));
}

// Everything, or what there was until a complaint. `models` are those that the plan numbers.
template <class T>
NetworkPlan<T> read_network(Reader& r, const abi::NeuronRow* models, int num_models,
                            int64_t steps) {
  const int64_t count = r.number();
  if (count < 1) r.fail("no slices");
  std::vector<Population<T>> pops(std::max<int64_t>(0, r.number()));
  std::vector<int64_t> sizes, ports;
  for (auto& p : pops) {
    const int64_t model = r.number();
    p.size = r.number();
    p.hard = r.number() != 0;
    const int64_t its = r.number();
    if (model < 0 || model >= num_models) r.fail("no such neuron model");
    if (its < 0 || its > abi::kMaxPorts) r.fail("too many ports");
    if (!r.ok()) break;
    p.model = &models[model];
    if (!takes_network_inputs(p.model->inputs))
      r.fail(std::string(p.model->model) + " takes other inputs than a network has");
    p.ports.resize(its);
    p.poissons.resize(std::max<int64_t>(0, r.number()));
    sizes.push_back(p.size);
    ports.push_back(its);
  }
  if (!r.ok()) return {{}, {}, {1, {}, {}}, {}};
  for (auto& p : pops)
    for (auto& port : p.ports) {
      port.conductance = r.number() != 0;
      if (port.conductance && p.model->takes_G < 0)
        r.fail(std::string(p.model->model) + " takes no conductance");
    }
  for (auto& p : pops)
    for (auto& q : p.poissons) {
      q.port = r.number();
      if (q.port < 0 || q.port >= int64_t(p.ports.size())) r.fail("a Poisson input has no port");
    }
  bool stored = true;
  Synapses<T> synapses = read_sources(r, pops, &stored);
  std::vector<Probe<T>> probes = read_probes(r, pops);
  NetworkPlan<T> plan{std::move(pops),
                      std::move(synapses),
                      {count, std::move(sizes), ports},
                      std::move(probes),
                      stored};
  for (auto& p : plan.populations)
    for (int k = 0; k < p.model->num_state; ++k) p.state[k] = r.in_place<T>(p.size);
  for (auto& p : plan.populations)
    for (auto& port : p.ports) port.g = r.in_place<T>(p.size);
  for (auto& p : plan.populations) p.history = r.in_place<uint32_t>(plan.synapses.kept * p.words());
  for (auto& p : plan.populations)
    for (auto& q : p.poissons) q.rng = r.in_place<uint32_t>((p.size + 63) / 64 * 64);
  for (auto& p : plan.populations) {
    for (int k = 0; k < p.model->num_params; ++k) p.params[k] = r.stream<T>(p.size);
    p.drive = r.stream<T>(p.size);
  }
  for (auto& p : plan.populations)
    for (auto& port : p.ports) {
      port.decay = r.stream<T>(p.size);
      port.value = r.stream<T>(p.size);
    }
  for (auto& p : plan.populations)
    for (auto& q : p.poissons) {
      q.thresholds = r.words(&q.num_thresholds);
      q.weight = r.stream<T>(p.size);
    }
  read_synapses(r, &plan);
  if (r.ok())
    for (auto& q : plan.probes) read_indices(r, plan.populations, q);
  for (auto& p : plan.populations) p.raster = r.raster(steps, p.words());
  if (r.ok())
    for (auto& q : plan.probes) read_traces(r, q, steps);
  return plan;
}

}  // namespace spikexla
