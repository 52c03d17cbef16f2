// Poisson spike counts for one block of neurons of a running network, added to a synapse's g.
//
// 16 generators (xoshiro.h) serve a group of 64 neurons in four rounds: neuron i takes round
// (i % 64) / 16 of lane i % 16, and every round of a group is made whether or not there are so many
// neurons. The count is the number of thresholds c_j = P(K <= j) 2^32 that the word reaches.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/table.h"
#include "cpu/width.h"
#include "xoshiro.h"

SPIKEXLA_BEGIN

namespace cpu {
using abi::PoissonBlock;

// Generators, or what they draw, side by side in one register.
constexpr int kWords = kVectorBytes / 4;
typedef uint32_t WordsOf __attribute__((vector_size(kVectorBytes)));
// The same in an array: read and written as a whole, where memcpy goes through smaller pieces.
typedef uint32_t WordsAt __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

SPIKEXLA_HD WordsOf read(const uint32_t* from) { return *reinterpret_cast<const WordsAt*>(from); }
SPIKEXLA_HD void write(WordsOf x, uint32_t* to) { *reinterpret_cast<WordsAt*>(to) = x; }

// One more in each lane whose word reaches the threshold. A true lane of a comparison is -1, which
// AVX-512 would have to make out of a mask.
SPIKEXLA_HD WordsOf counted(WordsOf count, WordsOf word, uint32_t threshold) {
#if defined(__AVX512F__)
  return word >= threshold ? count + 1 : count;
#else
  return count - WordsOf(word >= threshold);
#endif
}

// Whether any lane of four words reaches the threshold.
SPIKEXLA_HD bool any_reaches(const WordsOf (&words)[4], uint32_t threshold) {
  const WordsOf x = WordsOf((words[0] >= threshold) | (words[1] >= threshold) |
                            (words[2] >= threshold) | (words[3] >= threshold));
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(__m512i(x), __m512i(x)) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256(__m256i(x), __m256i(x));
#else
  uint64_t pairs[2];
  __builtin_memcpy(pairs, &x, sizeof x);
  return (pairs[0] | pairs[1]) != 0;
#endif
}

// The counts of four words a lane. Thresholds ascend, so once no lane reaches one, none reaches
// those behind it; looking at all lanes is dear, so that is asked after as many as most counts
// need.
SPIKEXLA_HD void count_reached(const WordsOf (&words)[4], const uint32_t* thresholds, int64_t n,
                               WordsOf (&counts)[4]) {
  constexpr int64_t kTogether = 8;
  for (WordsOf& count : counts) count = WordsOf{};
  for (int64_t j = 0; j < n; j += kTogether) {
    const int64_t end = n - j < kTogether ? n : j + kTogether;
    for (int64_t k = j; k < end; ++k)
      for (int r = 0; r < 4; ++r) counts[r] = counted(counts[r], words[r], thresholds[k]);
    if (end == n || !any_reaches(words, thresholds[end - 1])) break;
  }
}

// The counts of a group, whose generators `rng` (4, 16) step on four times.
SPIKEXLA_HD void draw_group(uint32_t* rng, const uint32_t* thresholds, int64_t n,
                            uint32_t* counts) {
  for (int lane = 0; lane < 16; lane += kWords) {
    uint32_t* const at = rng + lane;
    WordsOf s[4] = {read(at), read(at + 16), read(at + 32), read(at + 48)}, words[4], reached[4];
    for (WordsOf& word : words) word = next_word(s);
    count_reached(words, thresholds, n, reached);
    for (int k = 0; k < 4; ++k) write(s[k], at + 16 * k);
    for (int k = 0; k < 4; ++k) write(reached[k], counts + lane + 16 * k);
  }
}

template <class T>
void poisson(const PoissonBlock<T>& a) {
  alignas(64) uint32_t counts[64];
  for (int64_t first = 0; first < a.lanes; first += 64) {
    draw_group(a.rng + first, a.thresholds, a.num_thresholds, counts);
    const int64_t lanes = a.lanes - first < 64 ? a.lanes - first : 64;
    T* __restrict__ g = a.g + first;
    if (a.weight.lane == 0) {
      const T weight = *a.weight.at;
      for (int64_t l = 0; l < lanes; ++l) g[l] += weight * T(int32_t(counts[l]));
    } else {
      const T* weights = a.weight.at + first;
      for (int64_t l = 0; l < lanes; ++l) g[l] += weights[l] * T(int32_t(counts[l]));
    }
  }
}

}  // namespace cpu

SPIKEXLA_END
