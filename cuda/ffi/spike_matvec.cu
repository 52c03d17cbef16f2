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
  if (from.indptr.size > 0 && from.fan == 0) {
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

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

ffi::Error forward(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const int64_t has_init = int64_t(args.size()) - 4;
  if ((has_init != 0 && has_init != 1) || rets.size() != 1)
    return invalid("spike_matvec: wrong number of arrays");
  const auto arg = [&](int64_t k) { return *args.get<ffi::AnyBuffer>(k); };
  const ffi::AnyBuffer result = **rets.get<ffi::AnyBuffer>(0), first = arg(0);
  const SparseOperands o(arg(has_init), arg(has_init + 1), arg(has_init + 2), arg(has_init + 3),
                         result);
  if (!o.fits || (has_init && !alike(first, result))) return misfit(result);
  if (too_deep(o.batch)) return too_many_axes();
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

ffi::Error spikes_vjp(cudaStream_t stream, ffi::AnyBuffer begins, ffi::AnyBuffer targets,
                      ffi::AnyBuffer weights, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> out) {
  const SparseOperands o(begins, targets, weights, *out, dy);
  if (!o.fits || o.events_only) return misfit(*out);
  if (too_deep(o.batch)) return too_many_axes();
  return by_float_type(dy, [&](auto zero) {
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

ffi::Error weights_vjp(cudaStream_t stream, ffi::AnyBuffer begins, ffi::AnyBuffer targets,
                       ffi::AnyBuffer spikes, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> out) {
  const SparseOperands o(begins, targets, *out, spikes, dy);
  if (!o.fits || o.events_only) return misfit(*out);
  if (too_deep(o.batch)) return too_many_axes();
  const auto summed = repeats(o.batch, o.weights);
  for (size_t k = 0; k < summed.size(); ++k)
    if (o.per_synapse && summed[k] && (o.rows.indptr.strides[k] || o.rows.indices.strides[k]))
      return invalid(
          "spike_matvec: weights that several items share need rows that they share. "
          "Map the weights over the same axis as the connectivity.");
  return by_float_type(dy, [&](auto zero) {
    using T = decltype(zero);
    if (o.per_synapse) return checked(weights_vjp<T>(stream, o, summed), "spike_matvec");
    const cudaError_t error = start(stream, nullptr, *out);
    return checked(error ? error : shared_weight_vjp<T>(stream, o), "spike_matvec");
  });
}

XLA_FFI_Error* forward_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::PlatformStream<cudaStream_t>>()
                             .RemainingArgs()
                             .RemainingRets()
                             .To(&forward, kGraphSafe)
                             .release();
  return handler->Call(frame);
}

using Transposed = ffi::Error (*)(cudaStream_t, ffi::AnyBuffer, ffi::AnyBuffer, ffi::AnyBuffer,
                                  ffi::AnyBuffer, ffi::Result<ffi::AnyBuffer>);

template <Transposed kFunction>
XLA_FFI_Error* transposed_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::PlatformStream<cudaStream_t>>()
                             .Arg<ffi::AnyBuffer>()
                             .Arg<ffi::AnyBuffer>()
                             .Arg<ffi::AnyBuffer>()
                             .Arg<ffi::AnyBuffer>()
                             .Ret<ffi::AnyBuffer>()
                             .To(kFunction, kGraphSafe)
                             .release();
  return handler->Call(frame);
}

}  // namespace

void add_spike_matvec_kernels(std::vector<Kernel>& kernels) {
  const auto add = [&](const char* part, XLA_FFI_Handler* handler) {
    kernels.push_back({std::string("spikexla.spike_matvec.") + part + ".v1", "CUDA", "", "", "", "",
                       reinterpret_cast<void*>(handler)});
  };
  add("forward", &forward_handler);
  add("spikes_vjp", &transposed_handler<&spikes_vjp>);
  add("weights_vjp", &transposed_handler<&weights_vjp>);
}

}  // namespace spikexla
