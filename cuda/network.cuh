// A network as the kernels see it.
//
// The twin of csrc/cpu/network.h: the same plan and wiring, cut into about as many slices as there
// are multiprocessors. One block owns a slice, as one thread does on the CPU: it adds what arrives
// to the slice's inputs, advances the neurons and notes their spikes. Each target adds its events
// in the CPU's order, so results are the CPU's, bit for bit, without atomic additions.
//
// A step is one launch. The order of the stream is the meeting of all blocks, and the last block
// that ends a step lists its spikes for the next one. A persistent kernel would pay two meetings of
// the grid a step, which take as long as a launch, and need all its blocks on the device at once,
// which other streams may prevent; a captured graph would have to be kept between calls. The host
// only launches: it waits for nothing and reads nothing.
#pragma once

#include "block.cuh"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kNetworkThreads = 512;  // of a block, at most
inline constexpr int kMostFields = 16;       // of a model's state or parameters
inline constexpr size_t kShared = 48 << 10;  // bytes that any block may have

// One number for all neurons or one each.
template <class T>
struct Each {
  const T* at;
  int64_t lane;
  __device__ T of(int64_t i) const { return at[i * lane]; }
};

template <class T>
struct Port {
  T* g;
  Each<T> decay, value;
  bool conductance;
};

template <class T>
struct Poisson {
  int64_t port;
  uint32_t* rng;  // (ceil(size / 64), 4, 16)
  const uint32_t* thresholds;
  int64_t num_thresholds;
  Each<T> weight;
};

template <class T>
struct Population {
  int64_t model;  // its place in Models
  int64_t size, words;
  bool hard;
  T* state[kMostFields];
  Each<T> params[kMostFields], drive;
  const Port<T>* ports;
  const Poisson<T>* poissons;
  int64_t num_ports, num_poissons;
  const int32_t* edges;  // of its slices
  uint32_t* history;     // (kept, words) bits: row j holds the spikes of j + 2 steps ago
  uint32_t* raster;      // (steps, words) bits, or null
  uint32_t* fired;       // (words) bits of the step before
};

// Sources [low, high) of a population are rows from `row` on. Their words of bits lie from `word`
// on when all bundles' words lie behind each other.
struct Bundle {
  int64_t pre, low, high, row, word;
};

template <class T>
struct Network {
  const Population<T>* populations;
  const Bundle* bundles;
  int64_t num_populations, num_bundles, slices, steps, rows, words;  // words: of all bundles
  // The synapses: see csrc/cpu/wiring.h.
  int64_t first_delay, delays, kept, total;
  const int64_t* starts;
  const uint32_t* runs;
  const uint16_t* narrow;
  const uint32_t* wide;
  const T* weights;
  bool by_synapse;
  // What one launch leaves to the next.
  T* inputs;             // of all slices
  const int64_t* bases;  // where those of a slice begin, and the last end
  bool inputs_shared;    // a block has room for those of its slice
  int32_t* arriving;     // (kept + 1, rows): rows that spiked in the step before, a ring over steps
  int64_t* counts;       // (kept + 1): how many
  unsigned* ended;       // blocks that have ended this step

  // Where `arriving` and `counts` hold a step, which may be before the first; and one so many steps
  // before a slot, at most `kept`.
  __device__ int64_t slot(int64_t step) const {
    const int64_t ring = kept + 1;
    return (step % ring + ring) % ring;
  }
  __device__ int64_t earlier(int64_t slot, int64_t steps) const {
    return slot >= steps ? slot - steps : slot - steps + kept + 1;
  }
};

// What a block has in shared memory.
template <class T>
struct Room {
  int64_t *before, *begins, *ends, *sums;
  uint32_t* first;
  int32_t* rows;
  T* inputs;

  static constexpr int kPlaces = 1024;  // of `first`

  __device__ Room(void* shared, const Network<T>& net) {
    const int64_t threads = blockDim.x;
    before = static_cast<int64_t*>(shared);
    begins = before + net.delays + 1;
    ends = begins + threads;
    sums = ends + threads;
    first = reinterpret_cast<uint32_t*>(sums + kMostWarps);
    rows = reinterpret_cast<int32_t*>(first + kPlaces);
    inputs = reinterpret_cast<T*>(rows + threads);
  }
  // All but the inputs; a whole number of 8 bytes, as threads are even.
  static size_t bytes(int64_t threads, int64_t delays) {
    return sizeof(int64_t) * (delays + 1 + 2 * threads + kMostWarps) +
           sizeof(uint32_t) * (kPlaces + threads);
  }
};

}  // namespace cuda

SPIKEXLA_END
