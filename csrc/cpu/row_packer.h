// One row of a bundle as wiring.h lays it out: read from the rules, then sorted by slice and delay.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/wiring.h"

namespace spikexla {

template <class T, class Index>
class RowPacker {
 public:
  RowPacker(const Slices& slices, const Bundle<T>& bundle, int64_t first_delay, int64_t delays)
      : slices_(slices), bundle_(bundle), first_delay_(first_delay), delays_(delays) {}

  // Reads a row and returns its number of synapses, or -1 if a target or delay is out of range or
  // targets do not ascend.
  int64_t read(int64_t row) {
    counts_.assign(size_t(slices_.count() * delays_), 0);
    parts_.clear();
    int64_t most = 0, n = 0;
    for (const Feed<T>& feed : bundle_.feeds) most += most_in_row(feed.rule, row);
    reserve(most);
    for (const Feed<T>& feed : bundle_.feeds) {
      const int64_t here = read_feed(feed, row, n);
      if (here < 0) return -1;
      n += here;
    }
    return n;
  }

  // Writes the row that was read: `runs` (slices * delays + 1), `targets` and, unless null,
  // `weights`.
  void place(uint32_t* runs, Index* targets, T* weights) {
    runs[0] = 0;
    for (size_t k = 0; k < counts_.size(); ++k) runs[k + 1] = runs[k] + counts_[k];
    next_.assign(runs, runs + counts_.size());
    for (const Part& p : parts_) {
      uint32_t* next = &next_[p.key];
      if (p.one_delay) {
        for (int64_t j = p.from; j < p.to; ++j) targets[*next + j - p.from] = target(p, j);
        if (weights)
          for (int64_t j = p.from; j < p.to; ++j) weights[*next + j - p.from] = weight(p, j);
        *next += uint32_t(p.to - p.from);
      } else if (weights) {
        for (int64_t j = p.from; j < p.to; ++j) {
          const uint32_t at = next[steps_[j]]++;
          targets[at] = target(p, j);
          weights[at] = weight(p, j);
        }
      } else {
        for (int64_t j = p.from; j < p.to; ++j) targets[next[steps_[j]]++] = target(p, j);
      }
    }
  }

 private:
  // Synapses [from, to) of one feed that lie in one slice.
  struct Part {
    int64_t from, to, key, shift;  // key: of the slice, or with `one_delay` of the run
    bool one_delay;
    const T* weights;  // weights[j * step]
    int64_t step;
  };

  Index target(const Part& p, int64_t j) const { return Index(targets_[j] + p.shift); }
  static T weight(const Part& p, int64_t j) { return p.weights[j * p.step]; }

  // Rows of a probability may be far shorter than the most: memory that nobody touches is free.
  void reserve(int64_t most) {
    if (most <= room_) return;
    room_ = most;
    targets_.reset(new int32_t[most]);
    steps_.reset(new uint16_t[most]);
    values_.reset(new float[most]);
    weights_.reset(new T[most]);
  }

  int64_t read_feed(const Feed<T>& feed, int64_t row, int64_t at) {
    const int64_t n = read_row(feed.rule, row, room_ - at, &targets_[at], nullptr, nullptr);
    if (!sound(feed, &targets_[at], n)) return -1;
    Part part{at, at, 0, 0, feed.delays.at && !feed.delays.by_synapse, feed.weights, 0};
    if (!feed.weights) {
      read_values(feed.rule, feed.rule.weight, kWeightStream, row, n, &values_[at]);
      std::copy(&values_[at], &values_[at] + n, &weights_[at]);
      part.weights = weights_.get();
      part.step = 1;
    } else if (feed.by_synapse) {
      part.weights = feed.weights + begin_row(feed.rule, row) - at;
      part.step = 1;
    }
    int64_t one = 0;
    if (part.one_delay) {
      one = feed.delays.at[feed.delays.by_row ? row : 0] - first_delay_;
      if (one < 0 || one >= delays_) return -1;
    } else if (!read_steps(feed, row, n, at)) {
      return -1;
    }
    for (int64_t slice = 0; slice < slices_.count() && part.from < at + n; ++slice) {
      const int32_t* begin = &targets_[part.from];
      const int32_t* end = &targets_[at] + n;
      part.to += std::lower_bound(begin, end, slices_.edge(feed.post, slice + 1)) - begin;
      part.key = slice * delays_ + one;
      part.shift = slices_.input(feed.post, feed.port, slice) - slices_.edge(feed.post, slice);
      if (part.one_delay) counts_[part.key] += uint32_t(part.to - part.from);
      else
        for (int64_t j = part.from; j < part.to; ++j) ++counts_[part.key + steps_[j]];
      if (part.from < part.to) parts_.push_back(part);
      part.from = part.to;
    }
    return n;
  }

  bool sound(const Feed<T>& feed, const int32_t* targets, int64_t n) const {
    if (feed.rule.kind != RowRule::kGiven) return true;
    bool falls = false;
    for (int64_t j = 1; j < n; ++j) falls |= targets[j] < targets[j - 1];
    return n == 0 || (!falls && targets[0] >= 0 && targets[n - 1] < slices_.size(feed.post));
  }

  // One delay a synapse, counted from the first.
  bool read_steps(const Feed<T>& feed, int64_t row, int64_t n, int64_t at) {
    uint16_t* steps = &steps_[at];
    bool outside = false;
    const auto note = [&](int64_t j, int32_t step) {
      const int32_t delay = step - int32_t(first_delay_);
      outside |= delay < 0 || delay >= int32_t(delays_);
      steps[j] = uint16_t(delay);
    };
    if (feed.delays.by_synapse) {
      const uint16_t* given = feed.delays.at + begin_row(feed.rule, row);
      for (int64_t j = 0; j < n; ++j) note(j, given[j]);
    } else {  // to the nearest, as projection/delay.py counts
      float* ms = &values_[at];
      read_values(feed.rule, feed.rule.delay, kDelayStream, row, n, ms);
      const double dt = feed.delays.dt;
      const int32_t ahead = feed.delays.ahead;
      for (int64_t j = 0; j < n; ++j) {  // what fits no integer is a step that no delay has
        const double step = double(ms[j]) / dt + 0.5;
        note(j, step > -1 && step < 65536 ? std::max(int32_t(step) - ahead, 0) : -1);
      }
    }
    return !outside;
  }

  const Slices& slices_;
  const Bundle<T>& bundle_;
  int64_t first_delay_, delays_, room_ = 0;
  // Of the row that was read: its synapses, their parts, and the size and end of each run.
  std::unique_ptr<int32_t[]> targets_;
  std::unique_ptr<uint16_t[]> steps_;
  std::unique_ptr<float[]> values_;
  std::unique_ptr<T[]> weights_;
  std::vector<Part> parts_;
  std::vector<uint32_t> counts_, next_;
};

}  // namespace spikexla
