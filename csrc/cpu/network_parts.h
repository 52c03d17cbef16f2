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

// A block of a population's neurons, without their inputs.
template <class T>
abi::NeuronBits<T> neuron_block(const Population<T>& pop, int64_t first, int64_t lanes) {
  abi::NeuronBits<T> a;
  a.still = a.knows_G = false;
  a.lanes = lanes;
  a.hard = pop.hard;
  for (int k = 0; k < pop.model->num_state; ++k) a.state[k] = pop.state[k] + first;
  for (int k = 0; k < pop.model->num_params; ++k)
    a.params[k] = {pop.params[k].at + first * pop.params[k].lane, pop.params[k].lane, 0};
  return a;
}

// Neurons that spiked.
struct Fired {
  std::unique_ptr<int32_t[]> ids;
  int64_t count = 0;

  // Those of a block that starts at `first`, whose bits are set.
  void list(const uint32_t* bits, int64_t first, int64_t lanes) {
    int32_t* to = ids.get() + count;
    for (int64_t w = 0; w * 32 < lanes; ++w)
      for (uint32_t word = bits[w]; word != 0; word &= word - 1)
        *to++ = int32_t(first + w * 32 + __builtin_ctz(word));
    count = to - ids.get();
  }
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
