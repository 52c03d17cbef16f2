// One row of a connectivity at a time, from its rule: targets ascending, weights and delays.
//
// A row is a function of the rule and its number alone: it may be read again, by any thread, and
// needs no memory but the caller's. Callers have checked the rule.
#pragma once

#include <cstdint>

#include "cpu/sparse_table.h"

namespace spikexla {

// One value a synapse, drawn from a law whose parameters are those of abi::DrawValues.
struct RowValues {
  bool drawn = false;  // else there are none
  abi::Law law = abi::Law::kNormal;
  double centre = 0, spread = 0, from = 0, span = 1;
  float low = 0, high = 0;
};

struct RowRule {
  enum Kind : int32_t {
    kFan,       // `fan` targets, uniform
    kSizes,     // indptr[i + 1] - indptr[i] targets, uniform
    kProb,      // each target with probability p
    kAll,       // every target
    kOneToOne,  // target i
    kGiven,     // targets[begin_row(i) .. begin_row(i + 1))
  };
  Kind kind = kFan;
  uint64_t seed = 0;
  int64_t n_pre = 0, n_post = 0, fan = 0;
  double p = 0;
  bool skip_self = false, distinct = false;  // no source onto itself; no target twice in a row
  int64_t shift = 0;                         // source i is target i + shift, if there is one
  const int64_t* indptr = nullptr;
  const int32_t* targets = nullptr;
  RowValues weight, delay;
};

// The purposes of draws that are values (cpu/connect_loops.h).
inline constexpr uint32_t kWeightStream = 0x40000, kDelayStream = 0x50000;

// How many targets a row may have.
int64_t choices(const RowRule& rule, int64_t row);

// About how many synapses there are in all, without drawing any.
double expected_synapses(const RowRule& rule);

// The number of synapses of a row; for kProb they are drawn, else it is known.
int64_t count_row(const RowRule& rule, int64_t row);

// No row has more, which is known without drawing.
int64_t most_in_row(const RowRule& rule, int64_t row);

// Where a row begins among all synapses, for the rules that know: kFan, kSizes and kGiven.
inline bool begins_known(const RowRule& r) {
  return r.kind == RowRule::kFan || r.kind == RowRule::kSizes || r.kind == RowRule::kGiven;
}
inline int64_t begin_row(const RowRule& r, int64_t row) {
  return r.indptr ? r.indptr[row] : row * r.fan;
}

// Fills count_row elements of each array, which have room for `most`, and returns their number. If
// that is more than `most`, what they hold then means nothing. Null weights or delays are not
// wanted.
int64_t read_row(const RowRule& rule, int64_t row, int64_t most, int32_t* targets, float* weights,
                 float* delays);

// The weights or delays (`values`, `stream`) of a row of `n` synapses.
void read_values(const RowRule& rule, const RowValues& values, uint32_t stream, int64_t row,
                 int64_t n, float* to);

// All rows on all cores: first indptr (n_pre + 1), then arrays of indptr[n_pre] elements. False if
// an ascending indptr is not that of the first.
void count_rows(const RowRule& rule, int64_t* indptr);
bool read_rows(const RowRule& rule, const int64_t* indptr, int32_t* targets, float* weights,
               float* delays);

// `n` draws of a law that belong to no row.
void draw_law(const RowValues& law, uint64_t seed, int64_t n, float* to);

}  // namespace spikexla
