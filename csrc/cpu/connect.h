// Builders of connectivity on all cores. Rows are sorted by target; the result depends on the seed
// and the arguments only. Callers have checked the arguments and provide the memory.
#pragma once

#include <cstdint>

namespace spikexla {

// With `skip_self`, source i does not reach target i + shift, which is itself.
struct Selves {
  bool skip_self;
  int64_t shift;
};

// indptr[i + 1] - indptr[i] targets for source i, uniform.
void draw_rows(uint64_t seed, int64_t n_pre, int64_t n_post, const int64_t* indptr, Selves selves,
               bool distinct, int32_t* targets);

// In two passes, so that memory is asked for once and in full: the first fills indptr (n_pre + 1),
// the second targets (indptr[n_pre]). False if an ascending indptr is not that of the first.
struct BernoulliRows {
  uint64_t seed;
  int64_t n_pre, n_post;
  double p;
  Selves selves;
};
void fixed_prob_count(const BernoulliRows& rows, int64_t* indptr);
bool fixed_prob_fill(const BernoulliRows& rows, const int64_t* indptr, int32_t* targets);

// Synapses pre[s] -> post[s] by source, then target, then s: indptr (n_pre + 1), targets (total),
// and where each came from: order (total).
void from_arrays(const int32_t* pre, const int32_t* post, int64_t total, int64_t n_pre,
                 int64_t* indptr, int32_t* targets, int64_t* order);

}  // namespace spikexla
