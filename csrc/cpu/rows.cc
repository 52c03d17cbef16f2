#include "cpu/rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "cpu/cores.h"
#include "cpu/philox.h"
#include "cpu/table.h"

namespace spikexla {
namespace {

// Purposes that no other draw has (cpu/connect_loops.h).
constexpr uint32_t kOrder = 0x30000, kSelect = 0x60000, kExtra = 0x70000, kFlat = 0x80000;

const abi::SparseLoops& loops() { return *abi::table().sparse; }

// The targets that a row may have are 0 .. n, where those from `self` on stand for the next one.
struct Width {
  int64_t n, self;
  int32_t target(int64_t x) const { return int32_t(x + (x >= self)); }
};

Width width_of(const RowRule& r, int64_t row) {
  const int64_t self = row + r.shift;
  const bool skip = r.skip_self && self >= 0 && self < r.n_post;
  return {r.n_post - skip, skip ? self : r.n_post};
}

// `n` sorted uniform draws without a sort: the partial sums of n + 1 exponential gaps, divided by
// the sum of all, are distributed as n sorted uniform numbers (Devroye 1986, V.2.1).
void sorted_draws(const RowRule& r, int64_t row, int64_t n, int32_t* to) {
  constexpr int64_t kGaps = 4096;
  alignas(64) float gaps[kGaps];
  abi::DrawValues draw{r.seed, uint64_t(row), kOrder, abi::Law::kExponential, 0, 0, 0, 0, 0, 0, 0,
                       0,      gaps};
  const auto fetch = [&](int64_t at) {
    draw.at = at;
    draw.count = std::min(kGaps, n + 1 - at);
    loops().draw_values(draw);
  };
  double all = 0;
  for (int64_t at = 0; at <= n; at += kGaps) {
    fetch(at);
    for (int64_t k = 0; k < draw.count; ++k) all += double(gaps[k]);
  }
  const Width w = width_of(r, row);
  const double scale = double(w.n) / all;
  double sum = 0;
  for (int64_t at = 0; at < n; at += kGaps) {
    if (n + 1 > kGaps) fetch(at);
    const int64_t end = std::min(kGaps, n - at);
    for (int64_t k = 0; k < end; ++k) {
      sum += double(gaps[k]);
      to[at + k] = w.target(std::min(int64_t(sum * scale), w.n - 1));
    }
  }
}

// Drops repeated targets and draws others until there are `n`, which is what drawing one by one
// without replacement does.
void make_distinct(const RowRule& r, int64_t row, int64_t n, int32_t* to) {
  int64_t have = std::unique(to, to + n) - to;
  const Width w = width_of(r, row);
  for (uint32_t m = 0; have < n; ++m) {
    const Words words = philox(r.seed, kExtra, m, uint64_t(row));
    const uint64_t word = uint64_t{words.w0} << 32 | words.w1;
    const int32_t x = w.target(int64_t((unsigned __int128)word * uint64_t(w.n) >> 64));
    int32_t* at = std::lower_bound(to, to + have, x);
    if (at < to + have && *at == x) continue;
    std::memmove(at + 1, at, size_t(to + have - at) * sizeof *to);
    *at = x;
    ++have;
  }
}

// Knuth, TAOCP 2, 3.4.2 S: a target is taken with the probability (wanted) / (left).
void select(const RowRule& r, int64_t row, int64_t n, int32_t* to) {
  constexpr int64_t kDraws = 1024;
  float u[kDraws];
  const Width w = width_of(r, row);
  abi::DrawValues draw{r.seed, uint64_t(row), kSelect, abi::Law::kUniform, 0, 1, 0, 1, 0, 1,
                       0,      kDraws,        u};
  for (int64_t x = 0; n > 0; ++x) {
    if (x % kDraws == 0) {
      draw.at = x;
      draw.count = std::min(kDraws, w.n - x);
      loops().draw_values(draw);
    }
    const int64_t left = w.n - x;
    if (n < left && double(u[x % kDraws]) * double(left) >= double(n)) continue;
    *to++ = w.target(x);
    --n;
  }
}

void uniform_targets(const RowRule& r, int64_t row, int64_t n, int32_t* to) {
  if (n == 0) return;
  if (r.distinct && n * 16 >= r.n_post) return select(r, row, n, to);
  sorted_draws(r, row, n, to);
  if (r.distinct) make_distinct(r, row, n, to);
}

// Calls visit(target) for each target of a Bernoulli row; gaps are geometric.
template <class Visit>
int64_t bernoulli(const RowRule& r, int64_t row, const Visit& visit) {
  if (r.p <= 0) return 0;
  constexpr int64_t kGaps = 256;
  alignas(64) double gaps[kGaps];
  const Width w = width_of(r, row);
  abi::DrawGaps draw{r.seed, uint64_t(row), 0, kGaps, 1.0 / std::log1p(-r.p), gaps};
  int64_t at = -1, count = 0;
  for (;; draw.at += kGaps) {
    // The last draws of a short row are not needed: as many as make its end nearly certain.
    const double rest = double(w.n - at) * r.p;
    const int64_t few = (int64_t(rest + 4 * std::sqrt(rest)) / 32 + 1) * 32;
    draw.count = std::min(kGaps, few);
    loops().draw_gaps(draw);
    for (int64_t g = 0; g < draw.count; ++g) {
      at += 1 + int64_t(gaps[g]);
      if (at >= w.n) return count;
      visit(count++, w.target(at));
    }
    if (draw.count < kGaps) draw.at -= kGaps - draw.count;
  }
}

template <class Body>
void each_block(const RowRule& r, int64_t work, const Body& body) {
  const int64_t block = std::clamp<int64_t>(16384 * r.n_pre / std::max<int64_t>(work, 1), 1, 4096);
  on_all_cores((r.n_pre + block - 1) / block, work, [&](int64_t task) {
    const int64_t last = std::min(r.n_pre, (task + 1) * block);
    for (int64_t row = task * block; row < last; ++row) body(row);
  });
}

}  // namespace

int64_t choices(const RowRule& r, int64_t row) { return width_of(r, row).n; }

double expected_synapses(const RowRule& r) {
  const double pairs = double(r.n_pre) * double(r.n_post);
  switch (r.kind) {
    case RowRule::kFan:
      return double(r.n_pre) * double(r.fan);
    case RowRule::kSizes:
    case RowRule::kGiven:
      return double(begin_row(r, r.n_pre));
    case RowRule::kProb:
      return pairs * r.p;
    case RowRule::kAll:
      return pairs;
    case RowRule::kOneToOne:
      return double(r.n_pre);
  }
  return 0;
}

int64_t count_row(const RowRule& r, int64_t row) {
  switch (r.kind) {
    case RowRule::kFan:
    case RowRule::kSizes:
    case RowRule::kGiven:
      return begin_row(r, row + 1) - begin_row(r, row);
    case RowRule::kProb:
      return bernoulli(r, row, [](int64_t, int32_t) {});
    case RowRule::kAll:
      return choices(r, row);
    case RowRule::kOneToOne:
      return row < r.n_post && !(r.skip_self && r.shift == 0);
  }
  return 0;
}

int64_t most_in_row(const RowRule& r, int64_t row) {
  return r.kind == RowRule::kProb ? r.n_post : count_row(r, row);
}

void read_values(const RowRule& r, const RowValues& v, uint32_t stream, int64_t row, int64_t n,
                 float* to) {
  loops().draw_values({r.seed, uint64_t(row), stream, v.law, v.centre, v.spread, v.from, v.span,
                       v.low, v.high, 0, n, to});
}

int64_t read_row(const RowRule& r, int64_t row, int64_t most, int32_t* targets, float* weights,
                 float* delays) {
  int64_t n;
  if (r.kind == RowRule::kProb) {
    n = bernoulli(r, row, [&](int64_t k, int32_t target) {
      if (k < most) targets[k] = target;
    });
    if (n > most) return n;
  } else {
    n = count_row(r, row);
    if (n > most) return n;
    if (r.kind == RowRule::kOneToOne) {
      if (n) *targets = int32_t(row);
    } else if (r.kind == RowRule::kGiven) {
      std::copy_n(r.targets + begin_row(r, row), n, targets);
    } else if (r.kind == RowRule::kAll) {
      const Width w = width_of(r, row);
      for (int64_t x = 0; x < n; ++x) targets[x] = w.target(x);
    } else {
      uniform_targets(r, row, n, targets);
    }
  }
  if (weights) read_values(r, r.weight, kWeightStream, row, n, weights);
  if (delays) read_values(r, r.delay, kDelayStream, row, n, delays);
  return n;
}

void count_rows(const RowRule& r, int64_t* indptr) {
  indptr[0] = 0;
  const double drawn = r.kind == RowRule::kProb ? expected_synapses(r) : 0;
  each_block(r, int64_t(std::min(1e15, drawn)),
             [&](int64_t row) { indptr[row + 1] = count_row(r, row); });
  for (int64_t i = 0; i < r.n_pre; ++i) indptr[i + 1] += indptr[i];
}

bool read_rows(const RowRule& r, const int64_t* indptr, int32_t* targets, float* weights,
               float* delays) {
  std::atomic<bool> fits{true};
  each_block(r, indptr[r.n_pre], [&](int64_t row) {
    const int64_t at = indptr[row], most = indptr[row + 1] - at;
    if (read_row(r, row, most, targets + at, weights ? weights + at : nullptr,
                 delays ? delays + at : nullptr) != most)
      fits = false;
  });
  return fits;
}

void draw_law(const RowValues& v, uint64_t seed, int64_t n, float* to) {
  constexpr int64_t kBlock = 65536;
  on_all_cores((n + kBlock - 1) / kBlock, n, [&](int64_t task) {
    const int64_t at = task * kBlock;
    loops().draw_values({seed, uint64_t(task), kFlat, v.law, v.centre, v.spread, v.from, v.span,
                         v.low, v.high, 0, std::min(kBlock, n - at), to + at});
  });
}

}  // namespace spikexla
