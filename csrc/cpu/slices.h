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
  Slices(int64_t count, std::vector<int64_t> sizes, std::vector<int64_t> ports)
      : count_(count), sizes_(std::move(sizes)), ports_(std::move(ports)) {}

  int64_t count() const { return count_; }
  int64_t populations() const { return int64_t(sizes_.size()); }
  int64_t size(int64_t population) const { return sizes_[population]; }

  // The first neuron of a slice: a multiple of 64, so that slices hold whole words of spikes.
  int64_t edge(int64_t population, int64_t slice) const {
    const int64_t n = sizes_[population];
    return slice >= count_ ? n : std::min(n, (n * slice / count_ + 63) / 64 * 64);
  }
  int64_t length(int64_t population, int64_t slice) const {
    return edge(population, slice + 1) - edge(population, slice);
  }

  // Where the inputs of a port start among those of the slice, and how many there are.
  int64_t input(int64_t population, int64_t port, int64_t slice) const {
    return inputs_before(population, slice) + port * length(population, slice);
  }
  int64_t inputs(int64_t slice) const { return inputs_before(populations(), slice); }

 private:
  int64_t inputs_before(int64_t population, int64_t slice) const {
    int64_t at = 0;
    for (int64_t p = 0; p < population; ++p) at += ports_[p] * length(p, slice);
    return at;
  }

  int64_t count_;
  std::vector<int64_t> sizes_, ports_;
};

}  // namespace spikexla
