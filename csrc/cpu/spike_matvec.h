// Event-driven products with a sparse matrix on the CPU: y += s W for the non-zero entries of s,
// and the transposed products of its gradient.
//
// The order of additions is part of the contract: a target receives its events by ascending source,
// and within a source in the order of the row. Rows are sorted, so a range of targets is one slice
// of each row, and ranges can go to different threads without changing that order.
#pragma once

#include <cstring>

#include "cpu/sparse_table.h"
#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {
using namespace abi;

constexpr int64_t kAhead = 4;         // sources between a row's prefetch and its use
constexpr int64_t kAheadLines = 8;    // the hardware prefetcher continues from there
constexpr int64_t kCountLimit = 128;  // below: counting is faster than bisection

SPIKEXLA_HD int64_t row_begin(const RowsView& r, int64_t i) {
  return r.small ? int64_t{r.small[i]} : r.large ? r.large[i] : i * r.fan;
}

// Number of targets below `bound` in a sorted row.
SPIKEXLA_HD int64_t count_below(const int32_t* row, int64_t size, int64_t bound) {
  const int32_t* from = row;
  while (size > kCountLimit) {
    const int64_t half = size / 2;
    from += from[half - 1] < bound ? half : 0;
    size -= half;
  }
  const int32_t b = int32_t(bound);
  int32_t below = 0;
  for (int64_t k = 0; k < size; ++k) below += from[k] < b;
  return from - row + below;
}

// Whether all targets lie in [first, last): the only guard between a row and memory that is not
// ours.
SPIKEXLA_HD bool inside(const int32_t* row, int64_t size, int64_t first, int64_t last) {
  uint32_t widest = 0;
  for (int64_t k = 0; k < size; ++k) {
    const uint32_t at = uint32_t(row[k]) - uint32_t(first);
    widest = at > widest ? at : widest;
  }
  return size == 0 || widest < uint64_t(last - first);
}

SPIKEXLA_HD bool row_exists(const RowsView& r, int64_t begin, int64_t end) {
  return begin >= 0 && begin <= end && end <= r.total;
}

// Writes the ids of the non-zero entries of spikes[first, last); returns how many. A block without
// events costs one reduction; in a block with events the id is written always and kept if it
// counts.
template <class Bits, class T>
int64_t scan_events(const T* spikes, int64_t first, int64_t last, int32_t* ids) {
  static_assert(sizeof(Bits) == sizeof(T));
  constexpr int64_t kBlock = 256 / sizeof(T);
  const Bits sign = sizeof(T) == 1 ? Bits(0) : Bits(Bits(1) << (8 * sizeof(T) - 1));
  int64_t n = 0, i = first;
  for (; i + kBlock <= last; i += kBlock) {
    Bits block[kBlock], any = 0;
    memcpy(block, spikes + i, sizeof block);
    for (int64_t k = 0; k < kBlock; ++k) any |= block[k];
    if (Bits(any & Bits(~sign)) == 0) continue;
    for (int64_t k = 0; k < kBlock; ++k) {
      ids[n] = int32_t(i + k);
      n += Bits(block[k] & Bits(~sign)) != 0;
    }
  }
  for (; i < last; ++i)
    if (spikes[i] != T(0)) ids[n++] = int32_t(i);
  return n;
}

template <class T>
int64_t deliver(const Deliver<T>& a) {
  const bool whole = a.first == 0 && a.last == a.n_post;
  for (int64_t q = 0; q < a.events; ++q) {
    if (q + kAhead < a.events) {
      const int64_t next = a.ids[q + kAhead];
      const int64_t at = row_begin(a.rows, next);
      const char* line = reinterpret_cast<const char*>(a.rows.targets + at);
      const int64_t size = (row_begin(a.rows, next + 1) - at) * 4;
      for (int64_t l = 0; l < kAheadLines * 64 && l < size; l += 64) __builtin_prefetch(line + l);
      if (a.weight_step)
        for (int64_t l = 0; l < kAheadLines * 64 && l < size; l += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(a.weights + at) + l);
    }
    const int64_t i = a.ids[q], begin = row_begin(a.rows, i), end = row_begin(a.rows, i + 1);
    if (!row_exists(a.rows, begin, end)) return i;
    const int32_t* row = a.rows.targets + begin;
    const int64_t lo = whole ? 0 : count_below(row, end - begin, a.first);
    const int64_t hi =
        whole || a.last == a.n_post ? end - begin : count_below(row, end - begin, a.last);
    if (lo > hi || !inside(row + lo, hi - lo, a.first, a.last)) return i;
    const T s = a.spikes ? a.spikes[i] : T(1);
    T* const y = a.y;
    if (a.weight_step) {
      const T* w = a.weights + begin;
#pragma GCC unroll 8
      for (int64_t k = lo; k < hi; ++k) y[row[k]] += s * w[k];
    } else {
      const T c = s * *a.weights;
#pragma GCC unroll 8
      for (int64_t k = lo; k < hi; ++k) y[row[k]] += c;
    }
  }
  return -1;
}

// sum_k w_k x[row_k] in eight interleaved partial sums: the same bits at every SIMD level.
template <class T, bool kWeighted>
SPIKEXLA_HD T gather_sum(const int32_t* row, const T* w, int64_t size, const T* x) {
  T part[8] = {};
  int64_t k = 0;
  for (; k + 8 <= size; k += 8)
    for (int64_t j = 0; j < 8; ++j) part[j] += kWeighted ? w[k + j] * x[row[k + j]] : x[row[k + j]];
  for (int64_t j = 0; k + j < size; ++j)
    part[j] += kWeighted ? w[k + j] * x[row[k + j]] : x[row[k + j]];
  return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}

template <class T>
int64_t transposed(const Transposed<T>& a) {
  T scalar = T(0);
  for (int64_t i = a.first; i < a.last; ++i) {
    const int64_t begin = row_begin(a.rows, i), end = row_begin(a.rows, i + 1), size = end - begin;
    if (!row_exists(a.rows, begin, end)) return i;
    const int32_t* row = a.rows.targets + begin;
    const T s = a.spikes ? a.spikes[i] : T(0);
    if (size == 0) {  // a product with an infinite weight or spike would be NaN, where the sum is 0
      if (a.d_spikes) a.d_spikes[i] = T(0);
      continue;
    }
    const bool silent = a.d_spikes == nullptr && s == T(0);
    if (!silent && !inside(row, size, 0, a.n_post)) return i;
    if (a.d_spikes)
      a.d_spikes[i] = a.weight_step ? gather_sum<T, true>(row, a.weights + begin, size, a.dy)
                                    : *a.weights * gather_sum<T, false>(row, nullptr, size, a.dy);
    if (a.d_scalar && !silent) scalar += s * gather_sum<T, false>(row, nullptr, size, a.dy);
    if (T* dw = a.d_weights ? a.d_weights + begin : nullptr) {
      if (silent && !a.accumulate)
        for (int64_t k = 0; k < size; ++k) dw[k] = T(0);
      else if (!silent && a.accumulate)
        for (int64_t k = 0; k < size; ++k) dw[k] += s * a.dy[row[k]];
      else if (!silent)
        for (int64_t k = 0; k < size; ++k) dw[k] = s * a.dy[row[k]];
    }
  }
  if (a.d_scalar) *a.d_scalar = scalar;
  return -1;
}

}  // namespace cpu

SPIKEXLA_END
