// Spikes as bits, 32 to a word: bit i is set where spike i is not 0. NaN is not 0.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {

template <class T>
SPIKEXLA_HD uint32_t pack_word(const T* spikes, int64_t n) {
  uint32_t word = 0;
  for (int64_t i = 0; i < n; ++i) word |= uint32_t(spikes[i] != T(0)) << i;
  return word;
}

// A full word. Comparisons leave a mask in each lane; without AVX-512, masks are narrowed to bytes
// first, of which one instruction takes the signs.
#if defined(__AVX512F__)
SPIKEXLA_HD uint32_t pack_full_word(const float* s) {
  const auto not_0 = [s](int i) {
    return uint32_t(_mm512_cmp_ps_mask(_mm512_loadu_ps(s + i), _mm512_setzero_ps(), _CMP_NEQ_UQ));
  };
  return not_0(0) | not_0(16) << 16;
}
SPIKEXLA_HD uint32_t pack_full_word(const double* s) {
  const auto not_0 = [s](int i) {
    return uint32_t(_mm512_cmp_pd_mask(_mm512_loadu_pd(s + i), _mm512_setzero_pd(), _CMP_NEQ_UQ));
  };
  return not_0(0) | not_0(8) << 8 | not_0(16) << 16 | not_0(24) << 24;
}
#elif defined(__AVX2__)
SPIKEXLA_HD uint32_t pack_full_word(const float* s) {
  const auto not_0 = [s](int i) {
    return _mm256_castps_si256(
        _mm256_cmp_ps(_mm256_loadu_ps(s + i), _mm256_setzero_ps(), _CMP_NEQ_UQ));
  };
  // Narrowing works in halves of a register; the last line puts the quarters back in order.
  const __m256i low = _mm256_packs_epi32(not_0(0), not_0(8));
  const __m256i high = _mm256_packs_epi32(not_0(16), not_0(24));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
  return uint32_t(_mm256_movemask_epi8(bytes));
}
SPIKEXLA_HD uint32_t pack_full_word(const double* s) {
  uint32_t word = 0;
  for (int i = 0; i < 32; i += 4) {
    const __m256d not_0 = _mm256_cmp_pd(_mm256_loadu_pd(s + i), _mm256_setzero_pd(), _CMP_NEQ_UQ);
    word |= uint32_t(_mm256_movemask_pd(not_0)) << i;
  }
  return word;
}
#elif defined(__SSE2__)
SPIKEXLA_HD uint32_t pack_half_word(const float* s) {
  const auto not_0 = [s](int i) {
    return _mm_castps_si128(_mm_cmpneq_ps(_mm_loadu_ps(s + i), _mm_setzero_ps()));
  };
  const __m128i low = _mm_packs_epi32(not_0(0), not_0(4));
  const __m128i high = _mm_packs_epi32(not_0(8), not_0(12));
  return uint32_t(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
}
SPIKEXLA_HD uint32_t pack_full_word(const float* s) {
  return pack_half_word(s) | pack_half_word(s + 16) << 16;
}
SPIKEXLA_HD uint32_t pack_full_word(const double* s) {
  uint32_t word = 0;
  for (int i = 0; i < 32; i += 2) {
    const __m128d not_0 = _mm_cmpneq_pd(_mm_loadu_pd(s + i), _mm_setzero_pd());
    word |= uint32_t(_mm_movemask_pd(not_0)) << i;
  }
  return word;
}
#else
template <class T>
SPIKEXLA_HD uint32_t pack_full_word(const T* s) {
  return pack_word(s, 32);
}
#endif

template <class T>
void pack_bits(const T* spikes, int64_t lanes, uint32_t* bits) {
  for (int64_t w = 0; w < lanes / 32; ++w) bits[w] = pack_full_word(spikes + w * 32);
  if (lanes % 32 != 0) bits[lanes / 32] = pack_word(spikes + lanes / 32 * 32, lanes % 32);
}

}  // namespace cpu

SPIKEXLA_END
