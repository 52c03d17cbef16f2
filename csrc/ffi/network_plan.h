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
#include <string>
#include <vector>

#include "cpu/network.h"
#include "ffi/plan_reader.h"
#include "fields.h"

namespace spikexla {

// More than anybody asks for; products of these numbers stay far from the ends of 64 bits.
inline constexpr int64_t kMostSteps = int64_t{1} << 48, kMostSlices = 1 << 16, kMostDelay = 65535;

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

// The synapses and where they come from; what they hold is trusted, all else is checked.
template <class T>
void read_synapses(Reader& r, NetworkPlan<T>* plan) {
  Synapses<T>& w = plan->synapses;
  if (!plan->stored) {
    if (!r.in_own_memory()) return r.fail("rows are drawn on the CPU only: store the synapses");
    plan->lent = reinterpret_cast<const uint64_t*>(
        r.array<uint32_t>("the number under which rows are lent", {1, 2}));
    r.array<uint32_t>("the runs of rows that are not stored", {0});
    r.array<uint16_t>("the targets of rows that are not stored", {0});
    r.array<T>("the weights of rows that are not stored", {0});
    return;
  }
  const int64_t rows = plan->rows =
      w.sources.empty() ? 0 : w.sources.back().row + w.sources.back().high - w.sources.back().low;
  const int64_t width = plan->slices.count() * w.delays + 1;
  // JAX has no 64-bit integers by default: starts are pairs of words.
  w.starts = reinterpret_cast<const int64_t*>(
      r.array<uint32_t>("the packed synapses: starts", {rows + 1, 2}));
  w.runs = r.array<uint32_t>("the packed synapses: runs", {rows, width});
  const auto targets = r.peek("the packed synapses: targets");
  if (targets && targets->element_type() == ffi::U16)
    w.narrow = r.list<uint16_t>("the packed synapses: targets", &plan->total);
  else w.wide = r.list<uint32_t>("the packed synapses: targets", &plan->total);
  w.weights = r.array<T>("the packed synapses: weights", {w.by_synapse ? plan->total : rows});
  if (r.ok() && r.in_own_memory() && (w.starts[0] != 0 || w.starts[rows] != plan->total))
    r.fail("the packed synapses: starts go from " + std::to_string(w.starts[0]) + " to " +
           std::to_string(w.starts[rows]) + ", must be from 0 to the number of targets, " +
           std::to_string(plan->total));
}

template <class T>
Synapses<T> read_sources(Reader& r, const std::vector<Population<T>>& pops, bool* stored) {
  r.about(-1);
  Synapses<T> w{};
  w.first_delay = r.number("the shortest delay", 0, kMostDelay);
  w.delays = r.number("the number of delays", 1, kMostDelay);
  w.kept = r.number("the steps of spikes kept", 0, kMostDelay);
  *stored = r.flag("whether synapses are stored");
  w.by_synapse = r.flag("whether weights are one a synapse");
  if (w.kept < w.first_delay + w.delays - 1)
    r.fail("the steps of spikes kept is " + std::to_string(w.kept) +
           ", must be the longest delay or more, " + std::to_string(w.first_delay + w.delays - 1));
  int64_t row = 0;
  const int64_t bundles = r.count("the number of bundles");
  for (int64_t k = 0; k < bundles && r.ok(); ++k) {
    const int64_t pre = r.number("a bundle's population", 0, int64_t(pops.size()) - 1);
    const int64_t low = r.number("a bundle's first source", 0, pops[pre].size);
    const Sources q{pre, low, r.number("a bundle's last source", low, pops[pre].size), row};
    row += q.high - q.low;
    w.sources.push_back(q);
  }
  if (row > INT32_MAX)
    r.fail("there are " + std::to_string(row) + " rows of synapses, must be below 2^31");
  return w;
}

// The probes as the plan has them; their arrays come later.
template <class T>
std::vector<Probe<T>> read_probes(Reader& r, const std::vector<Population<T>>& pops) {
  std::vector<Probe<T>> probes(r.count("the number of probes"));
  if (!probes.empty() && !r.in_own_memory())
    return r.fail("traces are written on the CPU only; step the network in a loop"), probes;
  for (auto& q : probes) {
    if (!r.ok()) break;
    q.population = r.number("a probe's population", 0, int64_t(pops.size()) - 1);
    const auto& p = pops[q.population];
    const int64_t variables = p.model->num_state + int64_t(p.ports.size());
    q.variable = r.number("a probe's variable", 0, variables - 1);
    q.every = r.number("a probe's period", 1, kMostSteps);
  }
  return probes;
}

template <class T>
void read_indices(Reader& r, const std::vector<Population<T>>& pops, Probe<T>& q) {
  q.index = r.list<int32_t>("the neurons of a probe", &q.count);
  const int32_t* phase = r.array<int32_t>("the phase of a probe", {});
  if (!r.ok()) return;
  q.phase = *phase;
  if (q.phase < 0 || q.phase >= q.every)
    r.fail("a probe's phase is " + std::to_string(q.phase) + ", must be from 0 to " +
           std::to_string(q.every - 1));
  for (int64_t k = 0; k < q.count; ++k)
    if (q.index[k] < 0 || q.index[k] >= pops[q.population].size ||
        (k > 0 && q.index[k] <= q.index[k - 1]))
      return r.fail("neuron " + std::to_string(q.index[k]) + " of a probe must be in [0, " +
                    std::to_string(pops[q.population].size) + "), and they must ascend");
}

template <class T>
void read_traces(Reader& r, Probe<T>& q, int64_t steps) {
  const int64_t rows = ceil_div(steps, q.every);
  q.rows = r.result<T>("a trace", {rows, q.count});
  if (r.ok() && steps > 0 && q.phase + (rows - 1) * q.every >= steps)
    std::fill_n(q.rows + (rows - 1) * q.count, q.count, T(0));
}

// What the plan says of the populations; their arrays come later.
template <class T>
std::vector<Population<T>> read_populations(Reader& r, const abi::NeuronRow* models,
                                            int num_models) {
  std::vector<Population<T>> pops(r.count("the number of populations"));
  if (pops.empty()) r.fail("there are no populations, must be 1 or more");
  for (size_t k = 0; k < pops.size() && r.ok(); ++k) {
    Population<T>& p = pops[k];
    r.about(int64_t(k));
    p.model = &models[r.number("the neuron model", 0, num_models - 1)];
    if (!takes_network_inputs(p.model->inputs))
      r.fail(std::string(p.model->model) + " takes other inputs than a network has");
    p.size = r.number("the size", 1, INT32_MAX);
    p.hard = r.flag("whether the reset is hard");
    p.ports.resize(r.number("the number of ports", 0, abi::kMaxPorts));
    p.poissons.resize(r.count("the number of Poisson inputs"));
  }
  for (size_t k = 0; k < pops.size() && r.ok(); ++k) {
    r.about(int64_t(k));
    for (auto& port : pops[k].ports) {
      port.conductance = r.flag("whether a port is a conductance");
      if (port.conductance && pops[k].model->takes_G < 0)
        r.fail(std::string(pops[k].model->model) + " takes no conductance");
    }
  }
  for (size_t k = 0; k < pops.size() && r.ok(); ++k) {
    r.about(int64_t(k));
    const int64_t ports = int64_t(pops[k].ports.size());
    for (auto& q : pops[k].poissons) q.port = r.number("a Poisson input's port", 0, ports - 1);
  }
  return pops;
}

// Calls read(population) for each, as long as there is no complaint.
template <class T, class Read>
void each_population(Reader& r, std::vector<Population<T>>& pops, const Read& read) {
  for (size_t k = 0; k < pops.size() && r.ok(); ++k) {
    r.about(int64_t(k));
    read(pops[k]);
  }
  r.about(-1);
}

template <class T>
void read_states(Reader& r, NetworkPlan<T>* plan) {
  auto& pops = plan->populations;
  each_population(r, pops, [&](Population<T>& p) {
    for (int k = 0; k < p.model->num_state; ++k) p.state[k] = r.in_place<T>("a state", {p.size});
  });
  each_population(r, pops, [&](Population<T>& p) {
    for (auto& port : p.ports) port.g = r.in_place<T>("the g of a port", {p.size});
  });
  each_population(r, pops, [&](Population<T>& p) {
    p.history = r.in_place<uint32_t>("the history", {plan->synapses.kept, p.words()});
  });
  each_population(r, pops, [&](Population<T>& p) {
    for (auto& q : p.poissons)
      q.rng = r.in_place<uint32_t>("the generators", {(p.size + 63) / 64, 4, 16});
  });
}

template <class T>
void read_constants(Reader& r, NetworkPlan<T>* plan) {
  auto& pops = plan->populations;
  each_population(r, pops, [&](Population<T>& p) {
    for (int k = 0; k < p.model->num_params; ++k) p.params[k] = r.stream<T>("a parameter", p.size);
    p.drive = r.stream<T>("the drive", p.size);
  });
  each_population(r, pops, [&](Population<T>& p) {
    for (auto& port : p.ports) {
      port.decay = r.stream<T>("the decay of a port", p.size);
      port.value = r.stream<T>("the value of a port", p.size);
    }
  });
  each_population(r, pops, [&](Population<T>& p) {
    for (auto& q : p.poissons) {
      q.thresholds = r.list<uint32_t>("the thresholds of a Poisson input", &q.num_thresholds);
      q.weight = r.stream<T>("the weight of a Poisson input", p.size);
    }
  });
}

// Everything, or what there was until a complaint. `models` are those that the plan numbers.
template <class T>
NetworkPlan<T> read_network(Reader& r, const abi::NeuronRow* models, int num_models,
                            int64_t steps) {
  if (steps < 0 || steps > kMostSteps)
    r.fail("the attribute steps is " + std::to_string(steps) + ", must be from 0 to " +
           std::to_string(kMostSteps));
  const int64_t slices = r.number("the number of slices", 1, kMostSlices);
  auto pops = read_populations<T>(r, models, num_models);
  if (!r.ok()) return {{}, {}, {1, {}, {}}, {}};
  std::vector<int64_t> sizes, ports;
  for (const auto& p : pops) {
    sizes.push_back(p.size);
    ports.push_back(int64_t(p.ports.size()));
  }
  bool stored = true;
  Synapses<T> synapses = read_sources(r, pops, &stored);
  std::vector<Probe<T>> probes = read_probes(r, pops);
  if (!r.ok()) return {{}, {}, {1, {}, {}}, {}};
  NetworkPlan<T> plan{std::move(pops),
                      std::move(synapses),
                      {slices, std::move(sizes), ports},
                      std::move(probes),
                      stored};
  read_states(r, &plan);
  read_constants(r, &plan);
  if (r.ok()) read_synapses(r, &plan);
  for (auto& q : plan.probes)
    if (r.ok()) read_indices(r, plan.populations, q);
  each_population(r, plan.populations,
                  [&](Population<T>& p) { p.raster = r.raster(steps, p.words()); });
  for (auto& q : plan.probes)
    if (r.ok()) read_traces(r, q, steps);
  r.end();
  return plan;
}

}  // namespace spikexla
