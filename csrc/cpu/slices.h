// How a network is cut: every population into the same number of slices of neighbouring neurons.
//
// The synaptic inputs of a slice lie together: population after population, and of each one port
// after the other. A synapse names its target by the place in there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace spikexla {

class Slices {
 public:
  Slices(int64_t count, std::vector<int64_t> sizes, const std::vector<int64_t>& ports)
      : count_(count), sizes_(std::move(sizes)), inputs_(count, 0) {
    for (size_t p = 0; p < sizes_.size(); ++p) {
      const int64_t n = sizes_[p];
      for (int64_t s = 0; s <= count; ++s)
        edges_.push_back(s == count ? n : std::min(n, (n * s / count + 63) / 64 * 64));
      for (int64_t s = 0; s < count; ++s) {
        firsts_.push_back(inputs_[s]);
        inputs_[s] += ports[p] * length(int64_t(p), s);
      }
    }
  }

  bool operator==(const Slices& other) const {
    return edges_ == other.edges_ && firsts_ == other.firsts_ && inputs_ == other.inputs_;
  }

  int64_t count() const { return count_; }
  int64_t populations() const { return int64_t(sizes_.size()); }
  int64_t size(int64_t population) const { return sizes_[population]; }

  // The first neuron of a slice: a multiple of 64, so that slices hold whole words of spikes.
  int64_t edge(int64_t population, int64_t slice) const {
    return edges_[population * (count_ + 1) + slice];
  }
  int64_t length(int64_t population, int64_t slice) const {
    return edge(population, slice + 1) - edge(population, slice);
  }

  // Where the inputs of a port start among those of the slice, and how many there are.
  int64_t input(int64_t population, int64_t port, int64_t slice) const {
    return firsts_[population * count_ + slice] + port * length(population, slice);
  }
  int64_t inputs(int64_t slice) const { return inputs_[slice]; }

 private:
  int64_t count_;
  std::vector<int64_t> sizes_;
  std::vector<int64_t> edges_;   // [population][slice], one more than there are slices
  std::vector<int64_t> firsts_;  // [population][slice]: where its inputs start
  std::vector<int64_t> inputs_;  // [slice]
};

}  // namespace spikexla
