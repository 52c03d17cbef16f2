// Words for threads that work together: a warp, a block.
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAll = 0xffffffffu;
inline constexpr int kMostWarps = 32;  // of a block

// The sum of `value` over the threads of the block up to this one, and over all of them. The whole
// block calls it; `room` is shared and has kMostWarps places.
struct Scanned {
  int64_t until, all;
};
__device__ inline Scanned scan(int64_t value, int64_t* room) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int k = 1; k < kWarp; k *= 2) {
    const int64_t before = __shfl_up_sync(kAll, value, k);
    if (lane >= k) value += before;
  }
  __syncthreads();  // the room may still be read for the last scan
  if (lane == kWarp - 1) room[warp] = value;
  __syncthreads();
  int64_t before = 0, all = 0;
  for (int k = 0; k < int(blockDim.x) / kWarp; ++k) {
    if (k < warp) before += room[k];
    all += room[k];
  }
  return {before + value, all};
}

// The first place in [0, n) of an ascending row that holds more than `x`; n if there is none.
template <class X>
__device__ int64_t first_above(const X* row, int64_t n, int64_t x) {
  int64_t low = 0;
  while (low < n) {
    const int64_t middle = (low + n) / 2;
    if (row[middle] > x) n = middle;
    else low = middle + 1;
  }
  return low;
}

}  // namespace cuda

SPIKEXLA_END
