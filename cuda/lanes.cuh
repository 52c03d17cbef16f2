// Where a thread finds its lane in operands of several shapes: the strides of csrc/lanes.h, by
// value in a kernel's arguments.
#pragma once

#include <cstring>

#include "pack.h"

SPIKEXLA_BEGIN

namespace cuda {

// Axes of lanes that are left after merging those that all operands walk in step.
inline constexpr int kMaxRank = 6;

// The lanes of a call, axis 0 innermost.
struct Grid {
  int64_t lanes;
  int rank;
  int64_t dims[kMaxRank];
};

// An operand or result. A stride of 0 repeats the value; data of nullptr: nobody wants this result.
template <class T>
struct Operand {
  T* data;
  int64_t time;  // elements from one time step to the next
  int64_t strides[kMaxRank];
};

// The coordinates of one lane. Loops over axes are unrolled so that these stay in registers.
struct Place {
  int rank;
  int64_t at[kMaxRank];

  __device__ Place(const Grid& grid, int64_t lane) : rank(grid.rank) {
#pragma unroll
    for (int k = 0; k < kMaxRank; ++k) {
      at[k] = lane;
      if (k + 1 >= rank) break;
      at[k] = lane % grid.dims[k];
      lane /= grid.dims[k];
    }
  }

  template <class T>
  __device__ int64_t offset(const Operand<T>& o) const {
    int64_t offset = 0;
#pragma unroll
    for (int k = 0; k < kMaxRank; ++k) {
      if (k >= rank) break;
      offset += at[k] * o.strides[k];
    }
    return offset;
  }
  template <class T>
  __device__ T* seek(const Operand<T>& o) const {
    return o.data + offset(o);
  }
};

// N operands of one lane at a time step that moves.
template <class T, int N>
struct Walk {
  T* at[N];
  int64_t step[N];

  __device__ Walk(const Operand<T> (&operands)[N], const Place& place, int64_t t = 0) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      step[k] = operands[k].time;
      at[k] = place.seek(operands[k]) + t * step[k];
    }
  }
  __device__ void forth(int64_t steps = 1) {
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] += steps * step[k];
  }
  __device__ void back() {
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] -= step[k];
  }
};

// Between a struct of names and an array of numbers; both stay in registers.
template <class Pack, class T, int N>
__device__ __forceinline__ Pack pack(const T (&numbers)[N]) {
  static_assert(N == size_of<Pack, T>);
  Pack p;
  memcpy(&p, numbers, sizeof p);
  return p;
}

// Reads what no thread writes during the kernel, through the read-only cache.
template <class T, int N>
__device__ __forceinline__ void read(const Walk<const T, N>& from, T (&to)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = __ldg(from.at[k]);
}

// Reads one lane of operands without a time axis.
template <class Pack, class T, int N>
__device__ __forceinline__ Pack read_lane(const Operand<const T> (&from)[N], const Place& place) {
  T numbers[N];
#pragma unroll
  for (int k = 0; k < N; ++k) numbers[k] = *place.seek(from[k]);
  return pack<Pack>(numbers);
}

template <class Pack, class T, int N>
__device__ __forceinline__ void write(const Pack& p, const Walk<T, N>& to) {
  T numbers[N];
  memcpy(numbers, &p, sizeof p);
#pragma unroll
  for (int k = 0; k < N; ++k)
    if (to.at[k]) *to.at[k] = numbers[k];
}

template <class Pack, class T, int N>
__device__ __forceinline__ void write_lane(const Pack& p, const Operand<T> (&to)[N],
                                           const Place& place) {
  T numbers[N];
  memcpy(numbers, &p, sizeof p);
#pragma unroll
  for (int k = 0; k < N; ++k)
    if (to[k].data) *place.seek(to[k]) = numbers[k];
}

}  // namespace cuda

SPIKEXLA_END
