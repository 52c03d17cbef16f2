// Fills many buffers in one launch on a GPU. The twin of the loops in csrc/ffi/reset.cc.
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kResetThreads = 128;
inline constexpr int64_t kResetUnits = 1024;  // units that one block fills
inline constexpr int kMostFills = 48;         // of one launch: what kernel arguments have room for

// One buffer, in units of a 4-byte word or, where sizes do not allow that, of a byte.
struct Fill {
  char* to;
  const char *from, *value;
  int64_t units, value_units, row_units;  // row: one index of the leading axis
  int64_t first_block;
  bool words;
};

struct ResetArgs {
  const bool* mask;  // nullptr: every row
  int count;
  Fill fills[kMostFills];
};

template <class Unit>
__device__ void fill_block(const Fill& f, const bool* mask, int64_t first) {
  Unit* const to = reinterpret_cast<Unit*>(f.to);
  const Unit* const from = reinterpret_cast<const Unit*>(f.from);
  const Unit* const value = reinterpret_cast<const Unit*>(f.value);
  const int64_t last = first + kResetUnits < f.units ? first + kResetUnits : f.units;
  for (int64_t at = first + threadIdx.x; at < last; at += kResetThreads) {
    if (mask == nullptr || mask[at / f.row_units])
      to[at] = value[f.value_units == 1 ? 0 : f.value_units == f.units ? at : at % f.value_units];
    else if (to != from) to[at] = from[at];
  }
}

// A template only so that every source may include it.
template <class Args>
__global__ void __launch_bounds__(kResetThreads) reset(const __grid_constant__ Args a) {
  const int64_t block = blockIdx.x;
  int k = 0;
  while (k + 1 < a.count && block >= a.fills[k + 1].first_block) ++k;
  const Fill& f = a.fills[k];
  const int64_t first = (block - f.first_block) * kResetUnits;
  if (f.words) fill_block<uint32_t>(f, a.mask, first);
  else fill_block<uint8_t>(f, a.mask, first);
}

}  // namespace cuda

SPIKEXLA_END
