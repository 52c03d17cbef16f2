// Synapses that are not stored: a row is drawn when its source spikes and kept while that spike is
// under way.
//
// The thread that finds a spike draws its row for the targets of all slices, before the threads
// meet; after, all of them read it. Rows are packed as wiring.h says and are added in the order of
// stored ones, so the results are the same.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/failure.h"
#include "cpu/row_packer.h"
#include "cpu/row_source.h"

namespace spikexla {

template <class T>
class DrawnRows {
 public:
  // Spikes are under way for `kept` steps at most.
  DrawnRows(std::shared_ptr<const RowSource<T>> source, int64_t kept, Failure& failure)
      : source_(std::move(source)),
        count_(source_->slices.count()),
        ring_(kept + 2),
        failure_(failure) {
    drawn_.resize(size_t(ring_ * count_));
    for (Drawn& drawn : drawn_) drawn.firsts.assign(source_->bundles.size() + 1, 0);
  }

  // Draws `rows`, ascending: those whose sources lie in `slice` and spiked in the step before
  // `step`. Who reads them in a later step must have met the caller since.
  void draw(int64_t slice, int64_t step, const std::vector<int32_t>& rows) {
    Drawn& to = drawn(step, slice);
    to.clear();
    auto row = rows.begin();
    int64_t first = 0;
    for (size_t b = 0; b < source_->bundles.size(); ++b) {
      const Bundle<T>& bundle = source_->bundles[b];
      RowPacker<T, uint32_t> packer(source_->slices, bundle, source_->first_delay, source_->delays);
      const int64_t end = first + bundle.rows;
      for (; row != rows.end() && *row < end; ++row) add(*row - first, packer, &to);
      to.firsts[b + 1] = to.starts.size();
      first = end;
    }
  }

  // Adds what arrives in `step` at the inputs `g` of a slice.
  void deliver(int64_t slice, int64_t step, T* g) const {
    const int64_t width = count_ * source_->delays + 1;
    for (int64_t d = 0; d < source_->delays; ++d)
      for (size_t b = 0; b < source_->bundles.size(); ++b)
        for (int64_t from = 0; from < count_; ++from) {
          const Drawn& its = drawn(step - source_->first_delay - d, from);
          for (size_t row = its.firsts[b]; row < its.firsts[b + 1]; ++row) {
            const uint32_t* run = &its.runs[row * width + slice * source_->delays + d];
            const uint32_t* targets = its.targets.data() + its.starts[row];
            const T* weights = its.weights.data() + its.starts[row];
            for (uint32_t j = run[0]; j < run[1]; ++j) g[targets[j]] += weights[j];
          }
        }
  }

 private:
  // Rows of one slice's sources and one step: those of bundle b are [firsts[b], firsts[b + 1]).
  struct Drawn {
    std::vector<size_t> firsts, starts;
    std::vector<uint32_t> runs, targets;
    std::vector<T> weights;
    void clear() {
      std::fill(firsts.begin(), firsts.end(), 0);
      for (auto* x : {&runs, &targets}) x->clear();
      starts.clear();
      weights.clear();
    }
  };

  // A slice that is a step behind still reads what is `kept` steps old: hence two more than that.
  const Drawn& drawn(int64_t step, int64_t slice) const {
    return drawn_[size_t(((step % ring_ + ring_) % ring_) * count_ + slice)];
  }
  Drawn& drawn(int64_t step, int64_t slice) {
    return const_cast<Drawn&>(static_cast<const DrawnRows*>(this)->drawn(step, slice));
  }

  void add(int64_t row, RowPacker<T, uint32_t>& packer, Drawn* to) {
    const size_t width = size_t(count_ * source_->delays + 1);
    const int64_t n = packer.read(row);
    if (n < 0)
      return failure_.note(
          "a drawn synapse points outside of its population. Draw it with spikexla.connect, which "
          "checks");
    to->starts.push_back(to->targets.size());
    to->runs.resize(to->runs.size() + width);
    to->targets.resize(to->targets.size() + size_t(n));
    to->weights.resize(to->targets.size());
    packer.place(&to->runs[to->runs.size() - width], to->targets.data() + to->starts.back(),
                 to->weights.data() + to->starts.back());
  }

  std::shared_ptr<const RowSource<T>> source_;
  int64_t count_, ring_;
  std::vector<Drawn> drawn_;  // [step in the ring][slice]
  Failure& failure_;
};

}  // namespace spikexla
