// What crosses from the handlers to the loops of one SIMD level: plain pointers in plain structs.
//
// This file is the same for every level, so it lies outside the per-level namespace and holds no
// code.
#pragma once

#include <cstdint>

#include "cpu/sparse_table.h"

namespace spikexla::abi {

inline constexpr int kMaxFields = 16;  // of one kind: states, parameters or inputs of a model
inline constexpr int kMaxPorts = 8;

// A read-only operand seen from one block of lanes. A stride of 0 repeats the value.
template <class T>
struct Stream {
  const T* at;
  int64_t lane;  // elements from one lane to the next; 1: they lie side by side
  int64_t time;  // and from one step to the next
};

// The huge pages of a result in fresh memory: every `of`-th of them, the `turn`-th first, is for
// this block to fault in; `of` = 0: none.
struct PageTurns {
  char *begin, *end;  // the result
  int64_t turn, of;
};

// `steps` steps of one block of lanes. `state1` doubles as the working state.
template <class T>
struct NeuronForward {
  int64_t lanes, steps;
  int64_t every;  // write a checkpoint each so many steps; 0: none
  bool hard;
  Stream<T> state0[kMaxFields], params[kMaxFields], inputs[kMaxFields];
  T* state1[kMaxFields];
  T* checkpoints[kMaxFields];
  T* spikes;
  int64_t row, lane;  // elements from one time step of `spikes` to the next, and from lane to lane
  int64_t checkpoint_row, checkpoint_lane;  // likewise of `checkpoints`
  bool past_cache;                          // spikes are too many to be found in a cache later
  PageTurns pages;                          // of the spikes
};

// The transpose of the above. A null pointer in d_inputs or d_params means: not wanted.
template <class T>
struct NeuronBackward {
  int64_t lanes, steps, every;
  bool hard;
  int32_t surrogate;
  T surrogate_a, surrogate_b;
  Stream<T> checkpoints[kMaxFields], params[kMaxFields], inputs[kMaxFields];
  Stream<T> d_state1[kMaxFields], d_spikes;
  T* d_state0[kMaxFields];
  T* d_inputs[kMaxFields];
  T* d_params[kMaxFields];
  int64_t row, lane;  // of d_inputs
  int64_t width;      // lanes of a row of scratch: `lanes` or more
  T* scratch;         // backward_rows() of them
};

// One dense step of a population inside a running network; spikes leave as bits.
template <class T>
struct NeuronBits {
  int64_t lanes;
  bool hard, still;
  T* state[kMaxFields];
  Stream<T> params[kMaxFields], inputs[kMaxFields];
  bool knows_G;    // whether all conductances among the inputs are of at most the size ...
  T largest_G;     // ... that this is
  uint32_t* bits;  // ceil(lanes / 32) words
};

// The exponential synapses of one block of a population, and the constant current beside them.
template <class T>
struct SynapseBlock {
  int64_t lanes;
  int ports;
  bool decays;
  T* g[kMaxPorts];
  bool conductance[kMaxPorts];
  Stream<T> decay[kMaxPorts];
  Stream<T> value[kMaxPorts];  // reversal potential of a conductance, or scale of a current
  Stream<T> current;
  T *I, *G;
  bool knows_G;  // set by drive: whether largest_G is the largest |G|
  T largest_G;
};

// A Poisson input to one port of a block, which starts at a group of 64 neurons; see poisson.h.
template <class T>
struct PoissonBlock {
  int64_t lanes;
  T* g;
  uint32_t* rng;  // (groups, 4, 16)
  const uint32_t* thresholds;
  int64_t num_thresholds;
  Stream<T> weight;
};

template <class T>
struct SynapseLoops {
  void (*drive)(SynapseBlock<T>&);  // sets I and G, then decays every g
  void (*decay)(SynapseBlock<T>&);  // only that
  void (*poisson)(const PoissonBlock<T>&);
};

template <class T>
struct NeuronLoops {
  void (*forward)(const NeuronForward<T>&);
  void (*backward)(const NeuronBackward<T>&);
  void (*bits)(const NeuronBits<T>&);
};

// One neuron model as compiled for one SIMD level.
struct NeuronRow {
  const char *model, *state, *params, *inputs;
  int num_state, num_params, num_inputs;
  int takes_I, takes_G;  // what a network gives: places among the inputs, or -1
  NeuronLoops<float> f32;
  NeuronLoops<double> f64;
};

// Everything that is compiled once for each SIMD level.
struct Table {
  const char* level;
  const NeuronRow* neurons;
  int num_neurons;
  SynapseLoops<float> synapse_f32;
  SynapseLoops<double> synapse_f64;
  const SparseLoops* sparse;
};

inline constexpr int64_t kBitsLanes = 1024;  // most lanes of NeuronBits: their drive stays in L1
inline constexpr int64_t kForwardState = int64_t{1} << 18;  // bytes of a block's state: stays in L2
inline constexpr int64_t kForwardPiece = 512;  // lanes worked on together; most that may lie apart
inline constexpr int64_t kBackwardLanes = 1024;  // a page a row; a whole segment stays in L2

// Rows of scratch that `backward` of a model with these counts needs; `every` is at most the steps.
constexpr int64_t backward_rows(int num_state, int num_params, int num_inputs, int64_t every) {
  return (every + 1) * (num_state + 1) + num_params * 2 + num_inputs * 2 + 2;
}

const Table* table_baseline();
const Table* table_avx2();
const Table* table_avx512();

// The best level this processor has, or the one that SPIKEXLA_SIMD names.
const Table& table();

}  // namespace spikexla::abi
