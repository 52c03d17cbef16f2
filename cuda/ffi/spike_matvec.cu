// XLA handlers of the event-driven product on a GPU: shapes and launches, no arithmetic.
//
// The twin of csrc/ffi/spike_matvec.cc, with the same arguments, results and shapes.
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
  cuda::Operand<T> o{static_cast<T*>(from.buffer->untyped_data()), 0, {}};
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
  const ffi::AnyBuffer result = **rets.get<ffi::AnyBuffer>(0), first = arg(0),
                       begins = arg(has_init), targets = arg(has_init + 1),
                       weights = arg(has_init + 2), spikes = arg(has_init + 3);
  const int64_t rank = int64_t(result.dimensions().size()) - 1;
  Batch batch(std::max<int64_t>(0, rank));
  Operand y, w, s;
  Rows rows;
  const int64_t weight_axes = int64_t(weights.dimensions().size()) - rank;
  if (rank < 0 || weight_axes < 0 || !rows.read(batch, begins, targets) ||
      !batch.add(weights, weight_axes, &w) || !batch.add(spikes, 1, &s) ||
      !batch.add(result, 1, &y) ||
      (has_init && (first.element_count() != result.element_count() ||
                    first.element_type() != result.element_type())) ||
      s.size != rows.n_pre || (weight_axes != 0 && w.size != rows.indices.size) ||
      weights.element_type() != result.element_type())
    return invalid("spike_matvec: shapes do not fit " + describe(result));
  const bool events_only = spikes.element_type() == ffi::PRED;
  if (!events_only && spikes.element_type() != result.element_type())
    return invalid("spike_matvec: spikes must be bool or of the type of the weights");
  if (too_deep(batch)) return too_many_axes();
  return by_float_type(result, [&](auto zero) {
    using T = decltype(zero);
    if (const cudaError_t error = start(stream, has_init ? &first : nullptr, result))
      return checked(error, "spike_matvec");
    const auto run = [&](auto spike) {
      using Spike = decltype(spike);
      const auto axes = all(batch);
      return deliver<T, Spike>(
          stream, {grid(batch, axes), device_rows(batch, rows, axes),
                   operand<const T>(batch, w, axes), weight_axes != 0,
                   operand<const Spike>(batch, s, axes), operand<T>(batch, y, axes), y.size, 0, 0});
    };
    return checked(events_only ? run(uint8_t{}) : run(T{}), "spike_matvec");
  });
}

ffi::Error spikes_vjp(cudaStream_t stream, ffi::AnyBuffer begins, ffi::AnyBuffer targets,
                      ffi::AnyBuffer weights, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> out) {
  const ffi::AnyBuffer result = *out;
  const int64_t rank = int64_t(result.dimensions().size()) - 1;
  Batch batch(std::max<int64_t>(0, rank));
  Operand w, g, d;
  Rows rows;
  const int64_t weight_axes = int64_t(weights.dimensions().size()) - rank;
  if (rank < 0 || weight_axes < 0 || !rows.read(batch, begins, targets) ||
      !batch.add(weights, weight_axes, &w) || !batch.add(dy, 1, &g) || !batch.add(result, 1, &d) ||
      d.size != rows.n_pre || (weight_axes != 0 && w.size != rows.indices.size) ||
      weights.element_type() != result.element_type() || dy.element_type() != result.element_type())
    return invalid("spike_matvec: shapes do not fit " + describe(result));
  if (too_deep(batch)) return too_many_axes();
  return by_float_type(result, [&](auto zero) {
    using T = decltype(zero);
    const auto axes = all(batch);
    const cuda::SpikesVjpArgs<T> a{grid(batch, axes),
                                   device_rows(batch, rows, axes),
                                   operand<const T>(batch, w, axes),
                                   weight_axes != 0,
                                   operand<const T>(batch, g, axes),
                                   operand<T>(batch, d, axes),
                                   g.size};
    return checked(cuda::launch<&cuda::spikes_vjp<T>>(
                       stream, sparse_blocks(a.batch.lanes * rows.n_pre, cuda::kPartials),
                       kSparseThreads, 0, a),
                   "spike_matvec");
  });
}

template <class T>
cudaError_t shared_weight_vjp(cudaStream_t stream, const Batch& batch, const Rows& rows,
                              const Operand& s, const Operand& g, const Operand& d) {
  const auto axes = all(batch);
  const int64_t most = sparse_blocks(rows.n_pre, cuda::kPartials);
  const cuda::SharedWeightVjpArgs<T> a{grid(batch, axes),
                                       device_rows(batch, rows, axes),
                                       operand<const T>(batch, s, axes),
                                       operand<const T>(batch, g, axes),
                                       operand<T>(batch, d, axes),
                                       g.size,
                                       std::min<int64_t>(1024, most)};
  return cuda::launch<&cuda::shared_weight_vjp<T>>(stream, a.batch.lanes * a.blocks, kSparseThreads,
                                                   0, a);
}

template <class T>
cudaError_t weights_vjp(cudaStream_t stream, const Batch& batch, const Rows& rows, const Operand& s,
                        const Operand& g, const Operand& d) {
  const auto summed = repeats(batch, d);
  auto kept = summed;
  kept.flip();
  const cuda::WeightsVjpArgs<T> a{grid(batch, kept),
                                  grid(batch, summed),
                                  device_rows(batch, rows, kept),
                                  operand<const T>(batch, s, kept),
                                  operand<const T>(batch, g, kept),
                                  operand<const T>(batch, s, summed),
                                  operand<const T>(batch, g, summed),
                                  operand<T>(batch, d, kept),
                                  g.size};
  return cuda::launch<&cuda::weights_vjp<T>>(
      stream, sparse_blocks(a.kept.lanes * rows.n_pre, cuda::kWarp), kSparseThreads, 0, a);
}

ffi::Error weights_vjp(cudaStream_t stream, ffi::AnyBuffer begins, ffi::AnyBuffer targets,
                       ffi::AnyBuffer spikes, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> out) {
  const ffi::AnyBuffer result = *out;
  const int64_t rank = int64_t(dy.dimensions().size()) - 1;
  Batch batch(std::max<int64_t>(0, rank));
  Operand s, g, d;
  Rows rows;
  const int64_t weight_axes = int64_t(result.dimensions().size()) - rank;
  if (rank < 0 || weight_axes < 0 || !rows.read(batch, begins, targets) ||
      !batch.add(spikes, 1, &s) || !batch.add(dy, 1, &g) || !batch.add(result, weight_axes, &d) ||
      s.size != rows.n_pre || (weight_axes != 0 && d.size != rows.indices.size) ||
      spikes.element_type() != result.element_type() || dy.element_type() != result.element_type())
    return invalid("spike_matvec: shapes do not fit " + describe(result));
  if (too_deep(batch)) return too_many_axes();
  const auto summed = repeats(batch, d);
  for (size_t k = 0; k < summed.size(); ++k)
    if (weight_axes != 0 && summed[k] && (rows.indptr.strides[k] || rows.indices.strides[k]))
      return invalid(
          "spike_matvec: weights that several items share need rows that they share. "
          "Map the weights over the same axis as the connectivity.");
  return by_float_type(result, [&](auto zero) {
    using T = decltype(zero);
    if (weight_axes != 0)
      return checked(weights_vjp<T>(stream, batch, rows, s, g, d), "spike_matvec");
    const cudaError_t error = start(stream, nullptr, result);
    return checked(error ? error : shared_weight_vjp<T>(stream, batch, rows, s, g, d),
                   "spike_matvec");
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
