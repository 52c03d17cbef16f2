#include "cpu/connect.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "cpu/cores.h"
#include "cpu/table.h"

namespace spikexla {
namespace {

const abi::SparseLoops& loops() { return *abi::table().sparse; }

void draw(abi::DrawRows a) {
  thread_local std::vector<uint32_t> room;
  if (room.size() < size_t(abi::draw_room(a))) room.resize(size_t(abi::draw_room(a)));
  a.room = room.data();
  loops().draw_rows(a);
}

// Rows [first, last) of one task, so that a task holds about `kTask` synapses.
struct Blocks {
  static constexpr int64_t kTask = 16384;
  int64_t rows, block;
  Blocks(int64_t rows, double row_size, int64_t multiple)
      : rows(rows),
        block(int64_t(std::min(1e6, double(kTask) / std::max(row_size, 1e-3))) / multiple *
                  multiple +
              multiple) {}
  int64_t count() const { return (rows + block - 1) / block; }
  int64_t first(int64_t task) const { return task * block; }
  int64_t last(int64_t task) const { return std::min(rows, first(task) + block); }
};

// Calls visit(row, target) for every synapse of one block, and end_row(row) after each row. A block
// is one Bernoulli process over its rows laid end to end.
template <class Visit, class EndRow>
void walk(const BernoulliRows& m, const Blocks& blocks, int64_t task, const Visit& visit,
          const EndRow& end_row) {
  constexpr int64_t kGaps = 256;
  alignas(64) double gaps[kGaps];
  int64_t row = blocks.first(task), at = -1;
  const int64_t last = blocks.last(task);
  // The target that a row leaves out, n_post for none.
  const auto left_out = [&](int64_t i) {
    const int64_t self = i + m.selves.shift;
    return m.selves.skip_self && self >= 0 && self < m.n_post ? self : m.n_post;
  };
  int64_t self = left_out(row), wide = m.n_post - (self < m.n_post);
  abi::DrawGaps draw{m.seed, uint64_t(task), 0, kGaps, 1.0 / std::log1p(-m.p), gaps};
  for (;; draw.at += kGaps) {
    loops().draw_gaps(draw);
    for (int64_t g = 0; g < kGaps; ++g) {
      at += 1 + int64_t(gaps[g]);
      while (at >= wide) {
        at -= wide;
        end_row(row);
        if (++row == last) return;
        self = left_out(row);
        wide = m.n_post - (self < m.n_post);
      }
      visit(row, at + (at >= self));
    }
  }
}

}  // namespace

void draw_rows(uint64_t seed, int64_t n_pre, int64_t n_post, const int64_t* indptr, Selves selves,
               bool distinct, int32_t* targets) {
  const int64_t total = indptr[n_pre];
  if (total == 0) return;
  const Blocks blocks(n_pre, double(total) / double(n_pre), abi::kDrawLanes);
  on_all_cores(blocks.count(), total, [&](int64_t task) {
    // Rows are drawn side by side, so only those of one group wait for its largest.
    for (int64_t i = blocks.first(task); i < blocks.last(task); i += abi::kDrawLanes) {
      const int64_t end = std::min(i + abi::kDrawLanes, blocks.last(task));
      int64_t fan = 0;
      for (int64_t r = i; r < end; ++r) fan = std::max(fan, indptr[r + 1] - indptr[r]);
      if (fan)
        draw({seed, i, end, fan, n_post, selves.skip_self, distinct, selves.shift, indptr, targets,
              nullptr});
    }
  });
}

void fixed_prob_count(const BernoulliRows& m, int64_t* indptr) {
  std::fill(indptr, indptr + m.n_pre + 1, 0);
  if (m.p <= 0 || m.n_post == 0 || m.n_pre == 0) return;
  const Blocks blocks(m.n_pre, double(m.n_post) * m.p, 1);
  const double expected = double(m.n_pre) * double(m.n_post) * m.p;
  on_all_cores(blocks.count(), int64_t(std::min(1e15, expected)), [&](int64_t task) {
    int64_t count = 0;
    walk(
        m, blocks, task, [&](int64_t, int64_t) { ++count; },
        [&](int64_t row) {
          indptr[row + 1] = count;
          count = 0;
        });
  });
  for (int64_t i = 0; i < m.n_pre; ++i) indptr[i + 1] += indptr[i];
}

bool fixed_prob_fill(const BernoulliRows& m, const int64_t* indptr, int32_t* targets) {
  const bool none = m.p <= 0 || m.n_post == 0 || m.n_pre == 0;
  if (none) return indptr[m.n_pre] == 0;
  const Blocks blocks(m.n_pre, double(m.n_post) * m.p, 1);
  std::atomic<bool> fits{true};
  on_all_cores(blocks.count(), indptr[m.n_pre], [&](int64_t task) {
    const int64_t end = indptr[blocks.last(task)];
    int64_t at = indptr[blocks.first(task)];
    bool same = true;
    walk(
        m, blocks, task,
        [&](int64_t, int64_t target) {
          if (at < end) targets[at] = int32_t(target);
          ++at;
        },
        [&](int64_t row) { same &= at == indptr[row + 1]; });
    if (!same) fits = false;
  });
  return fits;
}

void from_arrays(const int32_t* pre, const int32_t* post, int64_t total, int64_t n_pre,
                 int64_t* indptr, int32_t* targets, int64_t* order) {
  std::fill(indptr, indptr + n_pre + 1, 0);
  if (n_pre == 0) return;
  // Each task owns a range of sources and reads the whole list: no atomics, and the order is kept.
  const int64_t owners = std::min<int64_t>(std::min(abi::thread_limit(), 16), n_pre);
  const auto cut = [&](int64_t k) { return n_pre * k / owners; };
  on_all_cores(owners, total, [&](int64_t task) {
    const uint32_t first = uint32_t(cut(task)), rows = uint32_t(cut(task + 1)) - first;
    for (int64_t s = 0; s < total; ++s)
      if (uint32_t(pre[s]) - first < rows) ++indptr[pre[s] + 1];
  });
  for (int64_t i = 0; i < n_pre; ++i) indptr[i + 1] += indptr[i];
  on_all_cores(owners, total, [&](int64_t task) {
    const uint32_t first = uint32_t(cut(task)), rows = uint32_t(cut(task + 1)) - first;
    std::vector<int64_t> next(indptr + first, indptr + first + rows);
    for (int64_t s = 0; s < total; ++s)
      if (uint32_t(pre[s]) - first < rows) order[next[uint32_t(pre[s]) - first]++] = s;
  });
  const Blocks blocks(n_pre, double(total) / double(n_pre), 1);
  on_all_cores(blocks.count(), total, [&](int64_t task) {
    for (int64_t i = blocks.first(task); i < blocks.last(task); ++i) {
      int64_t *from = order + indptr[i], *to = order + indptr[i + 1];
      const auto before = [&](int64_t a, int64_t b) {
        return post[a] != post[b] ? post[a] < post[b] : a < b;
      };
      if (!std::is_sorted(from, to, before)) std::sort(from, to, before);
      for (int64_t k = indptr[i]; k < indptr[i + 1]; ++k) targets[k] = post[order[k]];
    }
  });
}

}  // namespace spikexla
