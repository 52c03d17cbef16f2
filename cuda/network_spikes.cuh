// Spikes of a running network: from bits to ascending lists of rows, and back.
#pragma once

#include "network.cuh"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kWordsEach = 8;  // that a thread looks at together

// The bits of bundle `q` in word `w` of its population.
__device__ inline uint32_t within(const Bundle& q, int64_t w, uint32_t word) {
  if (w * 32 < q.low) word &= ~uint32_t{0} << (q.low - w * 32);
  if (w * 32 + 32 > q.high) word &= ~uint32_t{0} >> (w * 32 + 32 - q.high);
  return word;
}

// The last bundle that begins at `x` or before it, by one of its counts.
template <class T>
__device__ int64_t bundle_of(const Network<T>& net, int64_t Bundle::* begin, int64_t x) {
  int64_t low = 0, high = net.num_bundles;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (net.bundles[middle].*begin <= x) low = middle;
    else high = middle;
  }
  return low;
}

// Lists, by one block, the rows whose sources spiked: `bits(population)` are the spikes.
template <class T, class Bits>
__device__ void list_rows(const Network<T>& net, int64_t slot, int64_t* room, const Bits& bits) {
  int32_t* const list = net.arriving + slot * net.rows;
  int64_t count = 0;
  for (int64_t first = 0; first < net.words; first += blockDim.x * kWordsEach) {
    const int64_t at = first + threadIdx.x * int64_t{kWordsEach};
    uint32_t words[kWordsEach];
    int64_t ids[kWordsEach];  // of bit 0, as a row
    int64_t mine = 0, b = bundle_of(net, &Bundle::word, at);
#pragma unroll
    for (int k = 0; k < kWordsEach; ++k) {
      words[k] = 0;
      if (at + k >= net.words) continue;
      while (b + 1 < net.num_bundles && net.bundles[b + 1].word <= at + k) ++b;
      const Bundle& q = net.bundles[b];
      const int64_t w = q.low / 32 + at + k - q.word;
      words[k] = within(q, w, __ldcg(bits(q.pre) + w));  // other blocks wrote it: not from L1
      ids[k] = q.row + w * 32 - q.low;
      mine += __popc(words[k]);
    }
    const Scanned sum = scan(mine, room);
    int64_t to = count + sum.until - mine;
#pragma unroll
    for (int k = 0; k < kWordsEach; ++k)
      for (uint32_t word = words[k]; word != 0; word &= word - 1)
        list[to++] = int32_t(ids[k] + __ffs(int(word)) - 1);
    count += sum.all;
  }
  if (threadIdx.x == 0) net.counts[slot] = count;
}

// The spikes under way when the call begins, a block a step: block 0 those that the states stand
// for, block j those of row j - 1 of the histories.
template <class T>
__global__ void __launch_bounds__(kNetworkThreads) recall(const __grid_constant__ Network<T> net) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t j = blockIdx.x;
  if (j == 0 && threadIdx.x == 0) *net.ended = 0;
  list_rows(net, net.slot(-j), Room<T>(shared, net).sums, [&](int64_t p) {
    const Population<T>& q = net.populations[p];
    return j == 0 ? q.fired : q.history + (j - 1) * q.words;
  });
}

// Writes back which spikes are still under way, a block a row of the histories.
template <class T>
__global__ void __launch_bounds__(kNetworkThreads)
    remember(const __grid_constant__ Network<T> net) {
  const int64_t j = blockIdx.x, slot = net.slot(net.steps - 1 - j);
  for (int64_t p = 0; p < net.num_populations; ++p) {
    const Population<T>& q = net.populations[p];
    for (int64_t w = threadIdx.x; w < q.words; w += blockDim.x) q.history[j * q.words + w] = 0;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < net.counts[slot]; i += blockDim.x) {
    const int64_t row = net.arriving[slot * net.rows + i];
    const Bundle& q = net.bundles[bundle_of(net, &Bundle::row, row)];
    const Population<T>& pre = net.populations[q.pre];
    const int64_t id = q.low + row - q.row;
    atomicOr(pre.history + j * pre.words + id / 32, uint32_t{1} << id % 32);
  }
}

}  // namespace cuda

SPIKEXLA_END
