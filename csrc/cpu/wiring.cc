#include "cpu/wiring.h"

#include <atomic>

#include "cpu/cores.h"

namespace spikexla {
namespace {

int64_t begin(const abi::RowsView& rows, int64_t row) {
  return rows.small ? rows.small[row] : rows.large ? rows.large[row] : row * rows.fan;
}

// Packs rows one by one: a counting sort by slice and delay.
template <class T, class Index>
class Packer {
 public:
  Packer(const Slices& slices, const Runs& runs, Index* targets, T* weights)
      : slices_(slices), runs_(runs), targets_(targets), weights_(weights) {}

  bool pack(const Bundle<T>& bundle, int64_t row, int64_t packed_row) {
    const int64_t keys = slices_.count() * runs_.delays;
    uint32_t* ends = runs_.runs + packed_row * (keys + 1);
    std::fill(ends, ends + keys + 1, 0);
    keys_.clear();
    int64_t total = 0;
    for (const Feed<T>& feed : bundle.feeds) {
      const int64_t from = begin(feed.rows, row), to = begin(feed.rows, row + 1);
      if (from < 0 || from > to || to > feed.rows.total || !note_keys(feed, row, from, to, ends))
        return false;
      total += to - from;
    }
    if (total != runs_.starts[packed_row + 1] - runs_.starts[packed_row]) return false;
    for (int64_t k = 0; k < keys; ++k) ends[k + 1] += ends[k];
    next_.assign(ends, ends + keys);
    place(bundle, row, runs_.starts[packed_row]);
    return true;
  }

 private:
  // Counts the synapses of every run and remembers which run each belongs to.
  bool note_keys(const Feed<T>& feed, int64_t row, int64_t from, int64_t to, uint32_t* ends) {
    const int64_t size = slices_.size(feed.post);
    int64_t slice = 0;
    for (int64_t j = from; j < to; ++j) {
      const int64_t target = feed.rows.targets[j];
      const uint16_t steps = feed.delays.at[feed.delays.by_synapse ? j
                                            : feed.delays.by_row   ? row
                                                                   : 0];
      const int64_t delay = steps - runs_.first_delay;
      if (target < 0 || target >= size || delay < 0 || delay >= runs_.delays) return false;
      if (target < slices_.edge(feed.post, slice)) slice = 0;
      while (target >= slices_.edge(feed.post, slice + 1)) ++slice;
      const uint32_t key = uint32_t(slice * runs_.delays + delay);
      keys_.push_back(key);
      ++ends[key + 1];
    }
    return true;
  }

  void place(const Bundle<T>& bundle, int64_t row, int64_t start) {
    const uint32_t* key = keys_.data();
    for (const Feed<T>& feed : bundle.feeds) {
      const int64_t from = begin(feed.rows, row), to = begin(feed.rows, row + 1);
      int64_t slice = -1, shift = 0;
      for (int64_t j = from; j < to; ++j, ++key) {
        if (const int64_t now = *key / runs_.delays; now != slice) {
          slice = now;
          shift = slices_.input(feed.post, feed.port, slice) - slices_.edge(feed.post, slice);
        }
        const int64_t at = start + next_[*key]++;
        targets_[at] = Index(feed.rows.targets[j] + shift);
        if (weights_) weights_[at] = feed.weights[feed.by_synapse ? j : 0];
      }
    }
  }

  const Slices& slices_;
  const Runs& runs_;
  Index* targets_;
  T* weights_;
  std::vector<uint32_t> keys_, next_;  // of the row at hand: run of each synapse, place in each run
};

}  // namespace

template <class T, class Index>
bool pack_wiring(const Slices& slices, const std::vector<Bundle<T>>& bundles, const Runs& runs,
                 Index* targets, T* weights) {
  constexpr int64_t kChunk = 256;
  std::atomic<bool> sound{true};
  int64_t first = 0;
  for (const Bundle<T>& bundle : bundles) {
    const int64_t synapses = runs.starts[first + bundle.rows] - runs.starts[first];
    on_all_cores((bundle.rows + kChunk - 1) / kChunk, synapses + bundle.rows, [&](int64_t task) {
      Packer<T, Index> packer(slices, runs, targets, weights);
      const int64_t last = std::min(bundle.rows, (task + 1) * kChunk);
      for (int64_t row = task * kChunk; row < last && sound; ++row)
        if (!packer.pack(bundle, row, first + row)) sound = false;
    });
    first += bundle.rows;
  }
  return sound;
}

template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint16_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint32_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint16_t*,
                          double*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint32_t*,
                          double*);

}  // namespace spikexla
