// Event-driven products with a sparse matrix on a GPU: y += s W for the non-zero entries of s, and
// the transposed products of its gradient.
//
// The twin of csrc/cpu/spike_matvec.h. Two sums are made by atomic additions, whose order the
// hardware chooses anew in every run: y, and the gradient of a weight that all synapses share. They
// agree with the CPU's to rounding; the other gradients agree bit for bit. The host does not wait
// for a launch, so it cannot report a malformed row: what would lie out of bounds is left out.
#pragma once

#include "block.cuh"
#include "lanes.cuh"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kSparseThreads = 128;
inline constexpr int kPartials = 8;  // interleaved partial sums of a gathered row, as on the CPU

// One row of a connectivity.
struct Row {
  int64_t begin, size;
};

// The rows of all items of a batch. `small` or `large` holds n_pre + 1 begins; with neither, every
// row has `fan` targets.
struct Rows {
  Operand<const int32_t> small;
  Operand<const int64_t> large;
  Operand<const int32_t> targets;
  int64_t n_pre, fan, total;

  __device__ Row row(const Place& item, int64_t i) const {
    int64_t begin = i * fan, end = begin + fan;
    if (small.data) {
      const int32_t* at = item.seek(small) + i;
      begin = at[0];
      end = at[1];
    } else if (large.data) {
      const int64_t* at = item.seek(large) + i;
      begin = at[0];
      end = at[1];
    }
    const bool exists = begin >= 0 && begin <= end && end <= total;
    return {exists ? begin : 0, exists ? end - begin : 0};
  }
};

__device__ __forceinline__ bool is_target(int32_t target, int64_t n_post) {
  return target >= 0 && target < n_post;
}

template <class T, class Spike>
struct DeliverArgs {
  Grid batch;
  Rows rows;
  Operand<const T> weights;
  int64_t weight_step;          // 1: one a synapse; 0: one for all
  Operand<const Spike> spikes;  // Spike: T, or uint8_t for events that count 1
  Operand<T> y;
  int64_t n_post;
  int64_t groups, parts;
};

// A warp looks at 32 sources at once and serves those that spiked, one after another, with all its
// threads along the row. `parts` warps share a long row.
template <class T, class Spike>
__global__ void __launch_bounds__(kSparseThreads)
    deliver(const __grid_constant__ DeliverArgs<T, Spike> a) {
  const int lane = threadIdx.x % kWarp;
  int64_t warp = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / kWarp;
  const int64_t group = warp % a.groups;
  warp /= a.groups;
  const int64_t part = warp % a.parts, index = warp / a.parts;
  if (index >= a.batch.lanes) return;
  const Place item(a.batch, index);
  const int64_t source = group * kWarp + lane;
  const T spike = source < a.rows.n_pre ? T(item.seek(a.spikes)[source]) : T(0);
  unsigned fired = __ballot_sync(kAll, spike != T(0));
  if (fired == 0) return;
  Row mine{0, 0};
  if (spike != T(0)) mine = a.rows.row(item, source);
  const int32_t* const targets = item.seek(a.rows.targets);
  const T* const weights = item.seek(a.weights);
  T* const y = item.seek(a.y);
  for (; fired != 0; fired &= fired - 1) {
    const int from = __ffs(int(fired)) - 1;
    const T s = __shfl_sync(kAll, spike, from);
    const int64_t begin = __shfl_sync(kAll, mine.begin, from);
    const int64_t size = __shfl_sync(kAll, mine.size, from);
    for (int64_t k = part * kWarp + lane; k < size; k += kWarp * a.parts) {
      const int32_t target = __ldg(targets + begin + k);
      if (is_target(target, a.n_post))
        atomicAdd(y + target, s * __ldg(weights + (begin + k) * a.weight_step));
    }
  }
}

// sum_k w_k x[row_k] by the eight threads of a group, in the order of the CPU's gather_sum. All
// threads of the warp must take part, with a size of 0 if they have nothing to add.
template <class T>
__device__ __forceinline__ T gather_sum(const int32_t* row, const T* w, int64_t size, const T* x,
                                        int64_t n_post) {
  T part = T(0);
  for (int64_t k = threadIdx.x % kPartials; k < size; k += kPartials) {
    const int32_t target = __ldg(row + k);
    const T value = is_target(target, n_post) ? __ldg(x + target) : T(0);
    part += w ? __ldg(w + k) * value : value;
  }
  part += __shfl_xor_sync(kAll, part, 4);
  part += __shfl_xor_sync(kAll, part, 1);
  part += __shfl_xor_sync(kAll, part, 2);
  return part;
}

template <class T>
struct SpikesVjpArgs {
  Grid batch;
  Rows rows;
  Operand<const T> weights;
  int64_t weight_step;
  Operand<const T> dy;
  Operand<T> d_spikes;
  int64_t n_post;
};

// d_spikes[i] = sum_k w_ik dy[target_ik], by eight threads a source.
template <class T>
__global__ void __launch_bounds__(kSparseThreads)
    spikes_vjp(const __grid_constant__ SpikesVjpArgs<T> a) {
  const int64_t group = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / kPartials;
  const bool mine = group < a.batch.lanes * a.rows.n_pre;
  const int64_t source = mine ? group % a.rows.n_pre : 0;
  const Place item(a.batch, mine ? group / a.rows.n_pre : 0);
  const Row row = mine ? a.rows.row(item, source) : Row{0, 0};
  const T* const weights = item.seek(a.weights);
  const T sum = gather_sum(item.seek(a.rows.targets) + row.begin,
                           a.weight_step ? weights + row.begin : nullptr, row.size, item.seek(a.dy),
                           a.n_post);
  if (mine && threadIdx.x % kPartials == 0)
    item.seek(a.d_spikes)[source] = a.weight_step || row.size == 0 ? sum : *weights * sum;
}

template <class T>
struct WeightsVjpArgs {
  Grid kept;                                              // items that have weights of their own
  Grid summed;                                            // items that share these
  Rows rows;                                              // the same for all of `summed`
  Operand<const T> spikes, dy, summed_spikes, summed_dy;  // strides along `kept`, along `summed`
  Operand<T> d_weights;
  int64_t n_post;
};

// d_weights[i, k] = sum over items of spikes[i] dy[target_ik], by a warp a source. A synapse
// belongs to one thread, which adds the items in their order.
template <class T>
__global__ void __launch_bounds__(kSparseThreads)
    weights_vjp(const __grid_constant__ WeightsVjpArgs<T> a) {
  const int64_t warp = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / kWarp;
  if (warp >= a.kept.lanes * a.rows.n_pre) return;
  const int64_t source = warp % a.rows.n_pre;
  const Place item(a.kept, warp / a.rows.n_pre);
  const Row row = a.rows.row(item, source);
  const int32_t* const targets = item.seek(a.rows.targets) + row.begin;
  const T* const spikes = item.seek(a.spikes) + source;
  const T* const dy = item.seek(a.dy);
  T* const d_weights = item.seek(a.d_weights) + row.begin;
  for (int64_t k = threadIdx.x % kWarp; k < row.size; k += kWarp) {
    const int32_t target = __ldg(targets + k);
    T sum = T(0);
    for (int64_t b = 0; b < a.summed.lanes && is_target(target, a.n_post); ++b) {
      const Place other(a.summed, b);
      const T s = __ldg(spikes + other.offset(a.summed_spikes));
      if (s == T(0)) continue;
      const T more = s * __ldg(dy + other.offset(a.summed_dy) + target);
      sum = b == 0 ? more : sum + more;
    }
    d_weights[k] = sum;
  }
}

template <class T>
struct SharedWeightVjpArgs {
  Grid batch;
  Rows rows;
  Operand<const T> spikes, dy;
  Operand<T> d_weight;     // starts at 0
  int64_t n_post, blocks;  // blocks of an item
};

// d_weight += sum_i spikes[i] sum_k dy[target_ik]
template <class T>
__global__ void __launch_bounds__(kSparseThreads)
    shared_weight_vjp(const __grid_constant__ SharedWeightVjpArgs<T> a) {
  const Place item(a.batch, blockIdx.x / a.blocks);
  const T* const spikes = item.seek(a.spikes);
  const int32_t* const targets = item.seek(a.rows.targets);
  const T* const dy = item.seek(a.dy);
  const int64_t step = a.blocks * (kSparseThreads / kPartials);
  const int64_t mine =
      blockIdx.x % a.blocks * (kSparseThreads / kPartials) + threadIdx.x / kPartials;
  T sum = T(0);
  // All groups turn equally often, because a sum needs the whole warp.
  for (int64_t first = 0; first < a.rows.n_pre; first += step) {
    const int64_t source = first + mine;
    const T s = source < a.rows.n_pre ? __ldg(spikes + source) : T(0);
    const Row row = s != T(0) ? a.rows.row(item, source) : Row{0, 0};
    const T gathered = gather_sum<T>(targets + row.begin, nullptr, row.size, dy, a.n_post);
    if (row.size != 0) sum += s * gathered;
  }
  sum += __shfl_xor_sync(kAll, sum, 8);  // the threads of a group hold the same sum
  sum += __shfl_xor_sync(kAll, sum, 16);
  if (threadIdx.x % kWarp == 0) atomicAdd(item.seek(a.d_weight), sum);
}

}  // namespace cuda

SPIKEXLA_END
