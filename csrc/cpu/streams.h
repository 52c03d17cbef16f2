// How a block of lanes reads and writes operands whose lanes lie side by side, apart, or repeat.
#pragma once

#include "cpu/table.h"
#include "pack.h"

SPIKEXLA_BEGIN

namespace cpu {
using namespace abi;

template <class T>
inline void fill(T* to, T value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = value;
}

template <class T>
inline void copy(T* to, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// Between lanes `step` elements apart and lanes side by side.
template <class T>
inline void gather(T* to, const T* from, int64_t step, int64_t n) {
  if (step == 0) fill(to, *from, n);
  else if (step == 1) copy(to, from, n);
  else
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
}

template <class T>
inline void scatter(T* to, int64_t step, const T* from, int64_t n) {
  if (step == 1) copy(to, from, n);
  else
    for (int64_t i = 0; i < n; ++i) to[i * step] = from[i];
}

// Rows of N operands at one time step. What does not lie side by side is brought into `room`, N
// rows of `width` lanes, first: a repeated value as often as somebody reads at once.
template <class T, int N>
class Rows {
 public:
  // `lanes` of 1 is enough for operands of which only lane 0 is read.
  SPIKEXLA_HD Rows(const Stream<T>* streams, T* room, int64_t width, int64_t lanes)
      : room_(room), width_(width), most_(lanes < width ? lanes : width) {
    for (int k = 0; k < N; ++k) seek(streams, k, 0);
  }
  SPIKEXLA_HD void step_to(const Stream<T>* streams, int64_t t) {
    for (int k = 0; k < N; ++k)
      if (streams[k].time != 0) seek(streams, k, t);
  }
  // The rows from lane `i` on, of which the next `width` lanes may be read.
  SPIKEXLA_HD Arrays<const T, N> from(int64_t i = 0) const {
    Arrays<const T, N> rows;
    for (int k = 0; k < N; ++k) rows.at[k] = at_[k] + (repeats_[k] ? 0 : i);
    return rows;
  }

 private:
  SPIKEXLA_HD void seek(const Stream<T>* streams, int k, int64_t t) {
    at_[k] = streams[k].at + t * streams[k].time;
    repeats_[k] = streams[k].lane == 0;
    if (streams[k].lane == 1) return;
    gather(room_ + k * width_, at_[k], streams[k].lane, most_);
    at_[k] = room_ + k * width_;
  }

  T* room_;
  int64_t width_, most_;
  const T* at_[N];
  bool repeats_[N];
};

// Fetches lanes [i, i + n) of step t ahead: the processor's own prefetcher stops at every page.
template <class T>
SPIKEXLA_HD void prefetch(const Stream<T>* streams, int count, int64_t t, int64_t i, int64_t n) {
  for (int k = 0; k < count; ++k)
    for (int64_t j = i; streams[k].lane == 1 && streams[k].time && j < i + n; j += 64 / sizeof(T))
      __builtin_prefetch(streams[k].at + t * streams[k].time + j);
}

template <class T>
inline bool all_uniform(const Stream<T>* streams, int n) {
  for (int k = 0; k < n; ++k)
    if (streams[k].lane != 0) return false;
  return true;
}

}  // namespace cpu

SPIKEXLA_END
