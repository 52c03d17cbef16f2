// XLA handlers of the event-driven product on a GPU: launches, no arithmetic.
//
// The twin of csrc/ffi/spike_matvec.cc. The arrays and their shapes are those of
// ffi/sparse_operands.h.
#include <algorithm>
#include <vector>

#include "ffi/launches.cuh"
#include "ffi/registry.h"
#include "ffi/sparse_operands.h"
#include "launch.cuh"
#include "spike_matvec.cuh"

namespace spikexla {
namespace {

using cuda::kMaxRank;
using cuda::kSparseThreads;

// Which axes of a batch are meant.
using Chosen = std::vector<bool>;

Chosen all(const Batch& batch) { return Chosen(batch.dims().size(), true); }

// The axes over which `o` repeats and others do not.
Chosen repeats(const Batch& batch, const Operand& o) {
  Chosen is = all(batch);
  for (size_t k = 0; k < is.size(); ++k) is[k] = batch.dims()[k] != 1 && o.strides[k] == 0;
  return is;
}

// The chosen axes, innermost first, without those of size 1.
cuda::Grid grid(const Batch& batch, const Chosen& chosen) {
  cuda::Grid g{1, 0, {}};
  for (size_t k = chosen.size(); k-- > 0;) {
    if (!chosen[k]) continue;
    g.lanes *= batch.dims()[k];
    if (batch.dims()[k] != 1) g.dims[g.rank++] = batch.dims()[k];
  }
  return g;
}

template <class T>
cuda::Operand<T> operand(const Batch& batch, const Operand& from, const Chosen& chosen) {
  cuda::Operand<T> o{static_cast<T*>(from.data), 0, {}};
  int axis = 0;
  for (size_t k = chosen.size(); k-- > 0;)
    if (chosen[k] && batch.dims()[k] != 1) o.strides[axis++] = from.strides[k];
  return o;
}

cuda::Rows device_rows(const Batch& batch, const Rows& from, const Chosen& axes) {
  cuda::Rows r{};
  if (from.ragged) {
    if (from.large) r.large = operand<const int64_t>(batch, from.indptr, axes);
    else r.small = operand<const int32_t>(batch, from.indptr, axes);
  }
  r.targets = operand<const int32_t>(batch, from.indices, axes);
  r.n_pre = from.n_pre;
  r.fan = from.fan;
  r.total = from.indices.size;
  return r;
}

bool too_deep(const Batch& batch) {
  return std::count_if(batch.dims().begin(), batch.dims().end(), [](int64_t d) { return d != 1; }) >
         kMaxRank;
}

ffi::Error too_many_axes() {
  return invalid("spike_matvec: the kernels of a GPU take at most " + std::to_string(kMaxRank) +
                 " batch axes of size above 1. Reshape some into one, or nest fewer vmaps.");
}

// Blocks of kSparseThreads for `workers` groups of `threads` threads each.
int64_t sparse_blocks(int64_t workers, int64_t threads) {
  return ceil_div(workers, kSparseThreads / threads);
}

template <class T, class Spike>
cudaError_t deliver(cudaStream_t stream, cuda::DeliverArgs<T, Spike> a) {
  // A warp takes 512 synapses of a row; more warps share rows that are longer on average.
  const int64_t average = a.rows.n_pre == 0 ? 0 : a.rows.total / a.rows.n_pre;
  a.parts = std::min<int64_t>(1024, std::max<int64_t>(1, average / 512));
  a.groups = ceil_div(a.rows.n_pre, cuda::kWarp);
  return cuda::launch<&cuda::deliver<T, Spike>>(
      stream, sparse_blocks(a.batch.lanes * a.groups * a.parts, cuda::kWarp), kSparseThreads, 0, a);
}

// What y holds before the first event.
cudaError_t start(cudaStream_t stream, const ffi::AnyBuffer* init, const ffi::AnyBuffer& y) {
  const size_t bytes = y.size_bytes();
  void* to = y.untyped_data();
  if (bytes == 0) return cudaSuccess;
  if (!init) return cudaMemsetAsync(to, 0, bytes, stream);
  if (init->untyped_data() == to) return cudaSuccess;
  return cudaMemcpyAsync(to, init->untyped_data(), bytes, cudaMemcpyDeviceToDevice, stream);
}

ffi::Error forward(cudaStream_t stream, const ForwardCall& call) {
  const SparseOperands& o = call.o;
  const ffi::AnyBuffer result = call.y(), first = call.all[0];
  const bool has_init = call.has_init;
  return by_float_type(result, [&](auto zero) {
    using T = decltype(zero);
    if (const cudaError_t error = start(stream, has_init ? &first : nullptr, result))
      return checked(error, "spike_matvec");
    const auto run = [&](auto spike) {
      using Spike = decltype(spike);
      const auto axes = all(o.batch);
      return deliver<T, Spike>(stream,
                               {grid(o.batch, axes), device_rows(o.batch, o.rows, axes),
                                operand<const T>(o.batch, o.weights, axes), o.per_synapse,
                                operand<const Spike>(o.batch, o.values, axes),
                                operand<T>(o.batch, o.targets, axes), o.targets.size, 0, 0});
    };
    return checked(o.events_only ? run(uint8_t{}) : run(T{}), "spike_matvec");
  });
}

ffi::Error spikes_vjp(cudaStream_t stream, const TransposedCall& call) {
  const SparseOperands& o = call.o;
  return by_float_type(call.result(), [&](auto zero) {
    using T = decltype(zero);
    const auto axes = all(o.batch);
    const cuda::SpikesVjpArgs<T> a{grid(o.batch, axes),
                                   device_rows(o.batch, o.rows, axes),
                                   operand<const T>(o.batch, o.weights, axes),
                                   o.per_synapse,
                                   operand<const T>(o.batch, o.targets, axes),
                                   operand<T>(o.batch, o.values, axes),
                                   o.targets.size};
    return checked(cuda::launch<&cuda::spikes_vjp<T>>(
                       stream, sparse_blocks(a.batch.lanes * o.rows.n_pre, cuda::kPartials),
                       kSparseThreads, 0, a),
                   "spike_matvec");
  });
}

template <class T>
cudaError_t shared_weight_vjp(cudaStream_t stream, const SparseOperands& o) {
  const auto axes = all(o.batch);
  const int64_t most = sparse_blocks(o.rows.n_pre, cuda::kPartials);
  const cuda::SharedWeightVjpArgs<T> a{grid(o.batch, axes),
                                       device_rows(o.batch, o.rows, axes),
                                       operand<const T>(o.batch, o.values, axes),
                                       operand<const T>(o.batch, o.targets, axes),
                                       operand<T>(o.batch, o.weights, axes),
                                       o.targets.size,
                                       std::min<int64_t>(1024, most)};
  return cuda::launch<&cuda::shared_weight_vjp<T>>(stream, a.batch.lanes * a.blocks, kSparseThreads,
                                                   0, a);
}

template <class T>
cudaError_t weights_vjp(cudaStream_t stream, const SparseOperands& o, const Chosen& summed) {
  auto kept = summed;
  kept.flip();
  const cuda::WeightsVjpArgs<T> a{grid(o.batch, kept),
                                  grid(o.batch, summed),
                                  device_rows(o.batch, o.rows, kept),
                                  operand<const T>(o.batch, o.values, kept),
                                  operand<const T>(o.batch, o.targets, kept),
                                  operand<const T>(o.batch, o.values, summed),
                                  operand<const T>(o.batch, o.targets, summed),
                                  operand<T>(o.batch, o.weights, kept),
                                  o.targets.size};
  return cuda::launch<&cuda::weights_vjp<T>>(
      stream, sparse_blocks(a.kept.lanes * o.rows.n_pre, cuda::kWarp), kSparseThreads, 0, a);
}

ffi::Error weights_vjp(cudaStream_t stream, const TransposedCall& call) {
  const SparseOperands& o = call.o;
  const auto summed = repeats(o.batch, o.weights);
  for (size_t k = 0; k < summed.size(); ++k)
    if (o.per_synapse && summed[k] && (o.rows.indptr.strides[k] || o.rows.indices.strides[k]))
      return invalid(
          "spike_matvec: weights that several items share need rows that they share. "
          "Map the weights over the same axis as the connectivity.");
  return by_float_type(call.result(), [&](auto zero) {
    using T = decltype(zero);
    if (o.per_synapse) return checked(weights_vjp<T>(stream, o, summed), "spike_matvec");
    const cudaError_t error = start(stream, nullptr, call.result());
    return checked(error ? error : shared_weight_vjp<T>(stream, o), "spike_matvec");
  });
}

// Checks a call, then launches it.
template <class Call, class Run, class... Of>
ffi::Error handle(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets,
                  const Run& run, Of... of) {
  if (auto error = Call::check_number(args, rets); error.failure()) return error;
  const Call call(args, rets, of...);
  if (call.error.failure()) return call.error;
  if (auto error = poison(stream, args, rets); error.failure()) return error;
  return too_deep(call.o.batch) ? too_many_axes() : run(stream, call);
}

ffi::Error handle_forward(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return handle<ForwardCall>(stream, args, rets, forward);
}
ffi::Error handle_spikes_vjp(cudaStream_t stream, ffi::RemainingArgs args,
                             ffi::RemainingRets rets) {
  return handle<TransposedCall>(stream, args, rets, spikes_vjp, false);
}
ffi::Error handle_weights_vjp(cudaStream_t stream, ffi::RemainingArgs args,
                              ffi::RemainingRets rets) {
  return handle<TransposedCall>(
      stream, args, rets,
      [](cudaStream_t s, const TransposedCall& call) { return weights_vjp(s, call); }, true);
}

template <auto kFunction>
XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound = ffi::Ffi::Bind()
                           .Ctx<ffi::PlatformStream<cudaStream_t>>()
                           .RemainingArgs()
                           .RemainingRets()
                           .To(kFunction, kGraphSafe)
                           .release();
  return bound->Call(frame);
}

}  // namespace

void add_spike_matvec_kernels(std::vector<Kernel>& kernels) {
  const auto add = [&](const char* part, XLA_FFI_Handler* handler) {
    kernels.push_back({std::string("spikexla.spike_matvec.") + part + ".v1", "CUDA", "", "", "", "",
                       reinterpret_cast<void*>(handler)});
  };
  add("forward", &handler<&handle_forward>);
  add("spikes_vjp", &handler<&handle_spikes_vjp>);
  add("weights_vjp", &handler<&handle_weights_vjp>);
}

}  // namespace spikexla
