// Poisson spike counts for a slice of a running network, added to a synapse's g.
//
// The twin of csrc/cpu/poisson.h: 16 generators serve a group of 64 neurons in four
// rounds. Here a thread is one generator, and neighbours serve neighbours.
#pragma once

#include "network.cuh"
#include "xoshiro.h"

SPIKEXLA_BEGIN

namespace cuda {

// Neurons [low, high), of which the first begins a group; `g` is theirs.
template <class T>
__device__ void draw(const Poisson<T>& q, int64_t low, int64_t high, T* g) {
  const int64_t generators = (high - low + 63) / 64 * 16;
  for (int64_t k = threadIdx.x; k < generators; k += blockDim.x) {
    const int64_t group = k / 16 * 64, lane = k % 16;
    uint32_t* const rng = q.rng + low + group + lane;
    uint32_t s[4] = {rng[0], rng[16], rng[32], rng[48]};
    for (int round = 0; round < 4; ++round) {
      const uint32_t word = next_word(s);
      const int64_t i = group + round * 16 + lane;
      if (low + i >= high) continue;  // but every round is made
      int count = 0;
      while (count < q.num_thresholds && word >= q.thresholds[count]) ++count;
      g[i] += q.weight.of(low + i) * T(count);
    }
    for (int j = 0; j < 4; ++j) rng[j * 16] = s[j];
  }
}

}  // namespace cuda

SPIKEXLA_END
