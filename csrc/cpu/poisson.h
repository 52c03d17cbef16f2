// Poisson spike counts for one block of neurons of a running network, added to a synapse's g.
//
// 16 generators (xoshiro.h) serve a group of 64 neurons in four rounds: neuron i takes round
// (i % 64) / 16 of lane i % 16, and every round of a group is made whether or not there are so many
// neurons. The count is the number of thresholds c_j = P(K <= j) 2^32 that the word reaches.
#pragma once

#include "cpu/table.h"
#include "xoshiro.h"

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

// Whether a lane holds something else than 0.
SPIKEXLA_HD bool any_of(Masks16 x) {
  uint64_t pairs[8], any = 0;
  __builtin_memcpy(pairs, &x, sizeof x);
  for (int k = 0; k < 8; ++k) any |= pairs[k];
  return any != 0;
}

// The counts of a group. Thresholds ascend, so once no lane reaches one, none reaches those behind
// it; looking at all lanes is dear, so that is asked after as many as most counts need.
SPIKEXLA_HD void count_reached(const Words16 (&words)[4], const uint32_t* thresholds, int64_t n,
                               Words16 (&counts)[4]) {
  constexpr int64_t kTogether = 8;
  for (int64_t j = 0; j < n; j += kTogether) {
    for (int64_t k = j; k < n && k < j + kTogether; ++k)
      for (int r = 0; r < 4; ++r) counts[r] = words[r] >= thresholds[k] ? counts[r] + 1 : counts[r];
    if (j + kTogether >= n) break;
    const uint32_t last = thresholds[j + kTogether - 1];
    if (!any_of(Masks16((words[0] >= last) | (words[1] >= last) | (words[2] >= last) |
                        (words[3] >= last))))
      break;
  }
}

template <class T>
void poisson(const PoissonBlock<T>& a) {
  using Values = typename Lanes16<T>::Type;
  for (int64_t first = 0; first < a.lanes; first += 64) {
    uint32_t* rng = a.rng + first;  // (4, 16) words a group: as many as it has neurons
    Words16 s[4];
    __builtin_memcpy(s, rng, sizeof s);
    Words16 words[4], counts[4] = {};
    for (Words16& word : words) word = next_word(s);
    count_reached(words, a.thresholds, a.num_thresholds, counts);
    for (int r = 0; r < 4; ++r) {
      const int64_t at = first + 16 * r;
      const Values events = __builtin_convertvector(Masks16(counts[r]), Values);
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
