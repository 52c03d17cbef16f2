// What a network is made of, as pointers into the arrays of the call.
#pragma once

#include <memory>
#include <vector>

#include "cpu/row_source.h"
#include "cpu/table.h"

namespace spikexla {

// A group of exponential synapses that all neurons of one population have.
template <class T>
struct Port {
  T* g;
  abi::Stream<T> decay, value;
  bool conductance;
};

// Random spikes to every neuron of a population, through one of its ports.
template <class T>
struct Poisson {
  int64_t port;
  uint32_t* rng;  // (ceil(size / 64), 4, 16)
  const uint32_t* thresholds;
  int64_t num_thresholds;
  abi::Stream<T> weight;
};

template <class T>
struct Population {
  const abi::NeuronRow* model;
  int64_t size;
  bool hard;
  T* state[abi::kMaxFields];
  abi::Stream<T> params[abi::kMaxFields], drive;
  std::vector<Port<T>> ports;
  std::vector<Poisson<T>> poissons;
  uint32_t* history;  // (kept, words()) bits: row j holds the spikes of j + 2 steps ago
  uint32_t* raster;   // (steps, words()) bits, or null
  int64_t words() const { return (size + 31) / 32; }
};

// Sources [low, high) of population `pre` are rows [row, row + high - low) of the synapses.
struct Sources {
  int64_t pre, low, high, row;
};

// The synapses, as wiring.h packs them; or, not stored, what their rows are drawn from.
template <class T>
struct Synapses {
  std::vector<Sources> sources;
  int64_t first_delay, delays;
  int64_t kept;  // steps of spikes: the longest delay, or more
  const int64_t* starts;
  const uint32_t* runs;
  const uint16_t* narrow;  // targets among the inputs of their slice: these ...
  const uint32_t* wide;    // ... or these
  const T* weights;
  bool by_synapse;  // one weight a synapse, else one a row
  std::shared_ptr<const RowSource<T>> rows;
};

}  // namespace spikexla
