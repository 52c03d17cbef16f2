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
template <class T>
struct Lanes16 {
  typedef T Type __attribute__((vector_size(16 * sizeof(T))));
};

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
  constexpr int64_t kTogether = 8;  // more than most counts: looking at all lanes is dear
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
  using Values = typename Lanes16<T>::Type;
  for (int64_t first = 0; first < a.lanes; first += 64) {
    uint32_t* rng = a.rng + first;  // (4, 16) words a group: as many as it has neurons
    Words16 s[4];
    __builtin_memcpy(s, rng, sizeof s);
    for (int64_t at = first; at < first + 64; at += 16) {
      const Words16 count = count_reached(next_words(s), a.thresholds, a.num_thresholds);
      const Values events = __builtin_convertvector(Masks16(count), Values);
      T* const g = a.g + at;
      if (at + 16 <= a.lanes && a.weight.lane == 0) {
        Values values;
        __builtin_memcpy(&values, g, sizeof values);
        values += *a.weight.at * events;
        __builtin_memcpy(g, &values, sizeof values);
      } else {
        for (int64_t l = 0; l < 16 && at + l < a.lanes; ++l)
          g[l] += a.weight.at[(at + l) * a.weight.lane] * events[l];
      }
    }
    __builtin_memcpy(rng, s, sizeof s);
  }
}

}  // namespace cpu

SPIKEXLA_END
