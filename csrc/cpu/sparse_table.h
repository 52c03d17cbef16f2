// What crosses from the handlers and builders of sparse matrices to the loops of one SIMD level.
//
// Like table.h: the same for every level, outside the per-level namespace, and no code beyond
// sizes.
#pragma once

#include <cstdint>

namespace spikexla::abi {

// Row i of a connectivity is targets[begin(i), begin(i + 1)), sorted. `small` or `large` holds the
// n_pre + 1 begins; with neither, every row has `fan` targets.
struct RowsView {
  const int32_t* small;
  const int64_t* large;
  int64_t fan, total;  // total = number of targets
  const int32_t* targets;
};

// Adds the rows of active sources to y[first, last).
template <class T>
struct Deliver {
  RowsView rows;
  const T* weights;
  int64_t weight_step;  // 1: one a synapse; 0: one for all
  const T* spikes;      // null: every event counts 1
  const int32_t* ids;   // the active sources, ascending
  int64_t events;
  T* y;
  int64_t first, last, n_post;
};

// The transposed products for sources [first, last). A null result is not wanted.
//   d_spikes[i] = sum_k w_ik dy[target_ik]
//   d_weights[i, k] (+)= spikes[i] dy[target_ik],   or their sum over the block in *d_scalar
template <class T>
struct Transposed {
  RowsView rows;
  const T* weights;
  int64_t weight_step;
  const T* spikes;
  const T* dy;
  int64_t first, last, n_post;
  bool accumulate;
  T *d_spikes, *d_weights, *d_scalar;
};

inline constexpr int64_t kDrawLanes = 16;    // rows drawn side by side
inline constexpr int64_t kNetworkFan = 512;  // longer rows are sorted one by one
inline constexpr double kFarAway = 1e18;     // a gap that no row reaches over

// Rows [first, last) of sorted targets, uniform in [0, n_post) or, with `skip_self`, in that
// without target i + shift of row i, which is source i itself. Row i fills targets[begins[i],
// begins[i + 1]); `fan` is the largest row of [first, last).
struct DrawRows {
  uint64_t seed;
  int64_t first, last, fan, n_post;
  bool skip_self, distinct;
  int64_t shift;
  const int64_t* begins;
  int32_t* targets;  // of row 0
  uint32_t* room;    // draw_room() words

  constexpr int64_t size(int64_t row) const { return begins[row + 1] - begins[row]; }
};

constexpr bool use_bitmap(const DrawRows& a, int64_t fan) {
  return a.distinct && fan * 16 >= a.n_post;
}

constexpr int64_t draw_room(const DrawRows& a) {
  const int64_t bitmap = a.distinct ? a.n_post / 32 + 1 : 0, lanes = a.fan * (kDrawLanes + 1) + 4;
  return bitmap > lanes ? bitmap : lanes;
}

// `count` gaps of a Bernoulli process: floor(log(u) * scale), draws [at, at + count) of stream
// `block`.
struct DrawGaps {
  uint64_t seed, block;
  uint32_t at;
  int64_t count;  // a multiple of 2 kDrawLanes, and so is `at`
  double scale;   // 1 / log(1 - p)
  double* gaps;
};

// Draws [at, at + count) of one purpose (`stream`) of one row. With u uniform in (0, 1):
//   kExponential  -log(u)
//   kUniform      centre + spread u
//   kNormal       centre + spread z,  z = the normal quantile of from + span u
//   kLogNormal    exp(centre + spread z)
// An interval of probabilities [from, from + span] is what a bounded law leaves; `low` and `high`
// catch the rounding at its ends.
enum class Law : int32_t { kExponential, kUniform, kNormal, kLogNormal };
struct DrawValues {
  uint64_t seed, row;
  uint32_t stream;
  Law law;
  double centre, spread, from, span;
  float low, high;
  int64_t at, count;  // `at` is a multiple of kValueBlock
  float* to;
};
inline constexpr int64_t kValueBlock = 4 * kDrawLanes;

// Loops over the rows return -1, or the first source whose row would be read or written out of
// bounds.
template <class T>
struct EventLoops {
  int64_t (*scan)(const T* spikes, int64_t first, int64_t last, int32_t* ids);  // ids of non-zeros
  int64_t (*deliver)(const Deliver<T>&);
  int64_t (*transposed)(const Transposed<T>&);
};

struct SparseLoops {
  EventLoops<float> f32;
  EventLoops<double> f64;
  int64_t (*scan_bool)(const uint8_t* spikes, int64_t first, int64_t last, int32_t* ids);
  void (*draw_rows)(const DrawRows&);
  void (*draw_gaps)(const DrawGaps&);
  void (*draw_values)(const DrawValues&);
};

}  // namespace spikexla::abi
