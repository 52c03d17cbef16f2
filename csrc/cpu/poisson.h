// Poisson spike counts for one block of neurons of a running network, added to a synapse's g.
//
// 16 generators xoshiro128++ (Blackman & Vigna 2021, "Scrambled linear pseudorandom number
// generators") serve a group of 64 neurons in four rounds: neuron i takes round (i % 64) / 16 of
// lane i % 16, and every round of a group is made whether or not there are so many neurons. The
// count is the number of thresholds c_j = P(K <= j) 2^32 that the word reaches.
#pragma once

#include "cpu/table.h"
#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {
using abi::PoissonBlock;

// 16 lanes side by side; the compiler splits them over the registers that a level has.
typedef uint32_t Words16 __attribute__((vector_size(64)));
typedef int32_t Masks16 __attribute__((vector_size(64)));

SPIKEXLA_HD Words16 rotated(Words16 x, int k) { return (x << k) | (x >> (32 - k)); }

SPIKEXLA_HD Words16 next_words(Words16 (&s)[4]) {
  const Words16 word = rotated(s[0] + s[3], 7) + s[0];
  const Words16 t = s[1] << 9;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotated(s[3], 11);
  return word;
}

// Thresholds ascend, so once no lane reaches one, none reaches those behind it.
SPIKEXLA_HD Words16 count_reached(Words16 word, const uint32_t* thresholds, int64_t n) {
  constexpr int64_t kTogether = 4;
  Words16 count = {};
  for (int64_t j = 0; j < n; j += kTogether) {
    Masks16 reached = {};
    for (int64_t k = j; k < n && k < j + kTogether; ++k) {
      reached = Masks16(word >= thresholds[k]);
      count -= Words16(reached);
    }
    int32_t any = 0;
    for (int l = 0; l < 16; ++l) any |= reached[l];
    if (any == 0) break;
  }
  return count;
}

template <class T>
void poisson(const PoissonBlock<T>& a) {
  T* g = a.g;
  for (int64_t first = 0; first < a.lanes; first += 64) {
    uint32_t* rng = a.rng + first;  // (4, 16) words a group: as many as it has neurons
    Words16 s[4];
    for (int k = 0; k < 4; ++k)
      for (int l = 0; l < 16; ++l) s[k][l] = rng[k * 16 + l];
    for (int round = 0; round < 4; ++round) {
      const Words16 count = count_reached(next_words(s), a.thresholds, a.num_thresholds);
      const int64_t at = first + round * 16, n = a.lanes - at < 16 ? a.lanes - at : 16;
      if (n == 16 && a.weight.lane == 0) {
        const T w = *a.weight.at;
        for (int l = 0; l < 16; ++l) g[at + l] += w * T(int32_t(count[l]));
      } else {
        for (int64_t l = 0; l < n; ++l)
          g[at + l] += a.weight.at[(at + l) * a.weight.lane] * T(int32_t(count[l]));
      }
    }
    for (int k = 0; k < 4; ++k)
      for (int l = 0; l < 16; ++l) rng[k * 16 + l] = s[k][l];
  }
}

}  // namespace cpu

SPIKEXLA_END
