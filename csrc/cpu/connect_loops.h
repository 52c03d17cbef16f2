// The random draws of the connectivity builders, in lanes that the compiler vectorises.
//
// No containers and no <algorithm> here: a library template compiled for AVX-512 could be the copy
// that the linker keeps for everybody.
#pragma once

#include <cstring>

#include "cpu/philox.h"
#include "cpu/sparse_table.h"
#include "math.h"
#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {
using namespace abi;

constexpr uint32_t kRowStream = 0x10000, kGapStream = 0x20000;  // purposes that no other draw has
constexpr int64_t kLanes = kDrawLanes;

// Draw `m` of a row, uniform in [0, n). Lemire 2019, "Fast random integer generation in an
// interval": the high half of word * n, refused where the low half says that it would be counted
// too often.
SPIKEXLA_HD uint32_t draw(uint64_t seed, uint64_t row, uint32_t m, uint32_t n) {
  const uint32_t refused = uint32_t(-n) % n;
  for (uint32_t attempt = 0;; ++attempt) {
    const Words w = philox(seed, kRowStream + attempt, m / 4, row);
    const uint32_t word = m % 4 == 0 ? w.w0 : m % 4 == 1 ? w.w1 : m % 4 == 2 ? w.w2 : w.w3;
    const uint64_t product = uint64_t{word} * n;
    if (uint32_t(product) >= refused) return uint32_t(product >> 32);
  }
}

// The width of a row, and from which target on draws move up by one to leave the source out.
struct Width {
  uint32_t n, self;
};

SPIKEXLA_HD Width width_of(const DrawRows& a, int64_t row) {
  const int64_t self = row + a.shift;
  const bool skip = a.skip_self && uint64_t(self) < uint64_t(a.n_post);
  return {uint32_t(a.n_post - skip), skip ? uint32_t(self) : ~uint32_t{0}};
}

// Draws 0 .. fan of rows [row, row + kLanes) into room[draw][lane].
inline void draw_lanes(const DrawRows& a, int64_t row, uint32_t* room) {
  uint32_t n[kLanes], self[kLanes], refused[kLanes], words[4][kLanes];
  for (int64_t l = 0; l < kLanes; ++l) {
    const Width w = width_of(a, row + l);
    n[l] = w.n ? w.n : 1;  // a row without targets draws nothing that is kept
    self[l] = w.self;
    refused[l] = uint32_t(-n[l]) % n[l];
  }
  for (int64_t q = 0; q * 4 < a.fan; ++q) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const Words w = philox(a.seed, kRowStream, uint32_t(q), uint64_t(row + l));
      words[0][l] = w.w0;
      words[1][l] = w.w1;
      words[2][l] = w.w2;
      words[3][l] = w.w3;
    }
    for (int64_t j = 0; j < 4 && q * 4 + j < a.fan; ++j) {
      uint32_t* to = room + (q * 4 + j) * kLanes;
      uint32_t again = 0;
      for (int64_t l = 0; l < kLanes; ++l) {
        const uint64_t product = uint64_t{words[j][l]} * n[l];
        to[l] = uint32_t(product >> 32);
        again |= uint32_t(product) < refused[l];
      }
      if (again)
        for (int64_t l = 0; l < kLanes; ++l)
          to[l] = draw(a.seed, uint64_t(row + l), uint32_t(q * 4 + j), n[l]);
      for (int64_t l = 0; l < kLanes; ++l) to[l] += to[l] >= self[l];
    }
  }
}

// Sorts every lane: Batcher's merge exchange (Knuth, TAOCP 3, 5.2.2 M). Its comparisons do not
// depend on the data, so kLanes rows are sorted at once with min and max.
inline void sort_lanes(uint32_t* room, int64_t n) {
  int64_t top = 1;
  while (top * 2 < n) top *= 2;
  if (n < 2) return;
  for (int64_t p = top; p > 0; p /= 2) {
    int64_t r = 0, d = p;
    for (int64_t q = top;; q /= 2) {
      for (int64_t i = r; i < n - d; i += 2 * p) {
        const int64_t end = i + p < n - d ? i + p : n - d;
        for (int64_t j = i; j < end; ++j) {
          uint32_t* __restrict__ low = room + j * kLanes;
          uint32_t* __restrict__ high = room + (j + d) * kLanes;
          for (int64_t l = 0; l < kLanes; ++l) {
            const uint32_t x = low[l], y = high[l];
            low[l] = x < y ? x : y;
            high[l] = x < y ? y : x;
          }
        }
      }
      if (q == p) break;
      d = q - p;
      r = p;
    }
  }
}

// Sorts one long row by its binary digits, least significant first. `room` holds `n` words.
inline void radix_sort(uint32_t* row, int64_t n, uint32_t* room, int64_t bound) {
  int bits = 1;
  while ((int64_t{1} << bits) < bound) ++bits;
  const int passes = (bits + 10) / 11, width = (bits + passes - 1) / passes;
  uint32_t starts[2048];
  for (int pass = 0; pass < passes; ++pass) {
    const int shift = pass * width;
    const uint32_t mask = (uint32_t{1} << width) - 1;
    memset(starts, 0, sizeof starts);
    for (int64_t k = 0; k < n; ++k) ++starts[row[k] >> shift & mask];
    uint32_t at = 0;
    for (uint32_t d = 0; d <= mask; ++d) {
      const uint32_t count = starts[d];
      starts[d] = at;
      at += count;
    }
    for (int64_t k = 0; k < n; ++k) room[starts[row[k] >> shift & mask]++] = row[k];
    memcpy(row, room, size_t(n) * 4);
  }
}

// Drawing goes on until `fan` different targets are there: a repeated one is dropped and the next
// draw inserted instead, which is what drawing one by one without replacement does.
inline void make_distinct(const DrawRows& a, int64_t row, int32_t* to) {
  const int64_t fan = a.size(row);
  int64_t have = 0;
  for (int64_t k = 0; k < fan; ++k)
    if (k == 0 || to[k] != to[have - 1]) to[have++] = to[k];
  const Width w = width_of(a, row);
  for (uint32_t m = uint32_t(fan); have < fan; ++m) {
    uint32_t x = draw(a.seed, uint64_t(row), m, w.n);
    x += x >= w.self;
    int64_t lo = 0, hi = have;
    while (lo < hi) {
      const int64_t mid = (lo + hi) / 2;
      if (to[mid] < int32_t(x)) lo = mid + 1;
      else hi = mid;
    }
    if (lo < have && to[lo] == int32_t(x)) continue;
    memmove(to + lo + 1, to + lo, size_t(have - lo) * 4);
    to[lo] = int32_t(x);
    ++have;
  }
}

// A distinct row that holds a fair part of all targets: mark them in a bitmap, which also sorts.
// Above one half it is the absent ones that are drawn.
inline void draw_bitmap(const DrawRows& a, int64_t row, uint32_t* bitmap, int32_t* to) {
  const Width w = width_of(a, row);
  const int64_t fan = a.size(row);
  const bool absent = fan > w.n / 2;
  const int64_t marks = absent ? w.n - fan : fan;
  memset(bitmap, 0, size_t(w.n / 32 + 1) * 4);
  uint32_t m = 0;
  for (int64_t have = 0; have < marks; ++m) {
    const uint32_t x = draw(a.seed, uint64_t(row), m, w.n), bit = uint32_t{1} << x % 32;
    have += !(bitmap[x / 32] & bit);
    bitmap[x / 32] |= bit;
  }
  for (uint32_t x = 0; x < w.n; ++x)
    if (bool(bitmap[x / 32] >> x % 32 & 1) != absent) *to++ = int32_t(x + (x >= w.self));
}

// Row `row`, which lane `l` of the room holds.
inline void finish_row(const DrawRows& a, int64_t row, int64_t l) {
  const int64_t fan = a.size(row);
  int32_t* to = a.targets + a.begins[row];
  for (int64_t k = 0; k < fan; ++k) to[k] = int32_t(a.room[k * kLanes + l]);
  if (a.fan > kNetworkFan)
    radix_sort(reinterpret_cast<uint32_t*>(to), fan, a.room + a.fan * kLanes, a.n_post);
  if (a.distinct) make_distinct(a, row, to);
}

inline void draw_rows(const DrawRows& a) {
  for (int64_t row = a.first; row < a.last; row += kLanes) {
    const int64_t lanes = a.last - row < kLanes ? a.last - row : kLanes;
    bool marked[kLanes], all_marked = true;
    for (int64_t l = 0; l < lanes; ++l) {
      marked[l] = use_bitmap(a, a.size(row + l));
      all_marked = all_marked && marked[l];
    }
    if (!all_marked) {
      draw_lanes(a, row, a.room);
      for (int64_t l = 0; l < lanes;
           ++l)  // what a shorter row has too many goes behind its targets
        for (int64_t k = a.size(row + l); k < a.fan; ++k) a.room[k * kLanes + l] = ~uint32_t{0};
      if (a.fan <= kNetworkFan) sort_lanes(a.room, a.fan);
      for (int64_t l = 0; l < lanes; ++l)
        if (!marked[l]) finish_row(a, row + l, l);
    }
    for (int64_t l = 0; l < lanes; ++l)
      if (marked[l]) draw_bitmap(a, row + l, a.room, a.targets + a.begins[row + l]);
  }
}

// log(x) of a positive normal x, within 2 units in the last place: x = 2^e f with f in
// [sqrt(1/2), sqrt(2)), and log f = 2 atanh(s) with s = (f - 1) / (f + 1).
SPIKEXLA_HD double log_normal(double x) {
  const uint64_t b = bits<uint64_t>(x) - 0x3FE6A09E667F3BCDu + (uint64_t{1023} << 52);
  const double e = bits<double>(0x4330000000000000u | b >> 52) - (4503599627370496.0 + 1023.0);
  const double f = bits<double>(bits<uint64_t>(x) - ((b >> 52) << 52) + (uint64_t{1023} << 52));
  const double s = (f - 1.0) / (f + 1.0), z = s * s;
  double sum = 0.0;
#pragma GCC unroll 12
  for (int k = 10; k > 0; --k) sum = (sum + 1.0 / (2 * k + 1)) * z;
  return e * 0.6931471805599453 + 2.0 * (s + s * sum);
}

inline void draw_gaps(const DrawGaps& a) {
  for (int64_t at = 0; at < a.count; at += 2 * kLanes) {
    uint64_t words[2 * kLanes];
    for (int64_t l = 0; l < kLanes; ++l) {
      const Words w = philox(a.seed, kGapStream, a.at / 2 + uint32_t(at / 2 + l), a.block);
      words[l] = uint64_t{w.w0} << 32 | w.w1;
      words[kLanes + l] = uint64_t{w.w2} << 32 | w.w3;
    }
    for (int64_t l = 0; l < 2 * kLanes; ++l) {
      // u = (m + 1/2) 2^-52 for a 52-bit m: inside (0, 1), never on its border.
      const double u = (bits<double>(uint64_t{1023} << 52 | words[l] >> 12) - 1.0) + 0x1p-53;
      const double gap = __builtin_floor(log_normal(u) * a.scale);
      a.gaps[at + l] = gap < kFarAway ? gap : kFarAway;
    }
  }
}

}  // namespace cpu

SPIKEXLA_END
