// XLA handlers of the neuron models on a GPU: buffers in, one launch out. No mathematics.
//
// The twin of csrc/ffi/neuron.cc, with the same arguments, results, attributes and shapes: those of
// ffi/neuron_operands.h.
#include "ffi/launches.cuh"
#include "ffi/neuron_operands.h"
#include "ffi/registry.h"
#include "launch.cuh"
#include "models.h"
#include "neuron.cuh"

namespace spikexla {
namespace {

using cuda::kMaxRank;

// The lanes as kernels take them. False if more axes are left than kernels have room for.
bool place_lanes(const Lanes& lanes, cuda::Grid* grid) {
  const auto& dims = lanes.dims();
  if (int(dims.size()) > kMaxRank) return false;
  grid->lanes = lanes.size();
  grid->rank = int(dims.size());
  for (int k = 0; k < kMaxRank; ++k) grid->dims[k] = k < grid->rank ? dims[grid->rank - 1 - k] : 1;
  return true;
}

template <class T>
cuda::Operand<T> operand(const View& view, void* data) {
  cuda::Operand<T> o{static_cast<T*>(data), view.time, {}};
  const int rank = int(view.strides.size());
  for (int k = 0; k < rank; ++k) o.strides[k] = view.strides[rank - 1 - k];
  return o;
}

template <class T, int N>
void place(const NeuronOperands& o, int first, cuda::Operand<const T> (&to)[N]) {
  for (int k = 0; k < N; ++k)
    to[k] = operand<const T>(o.in(first + k), o.arg(first + k).untyped_data());
}

// Results that nobody wants stay without data.
template <class T, int N>
void place_results(const NeuronOperands& o, int first, cuda::Operand<T> (&to)[N]) {
  for (int k = 0; k < N; ++k)
    if (!o.unwanted(first + k))
      to[k] = operand<T>(o.out(first + k), o.ret(first + k).untyped_data());
}

template <class Model>
NeuronFields fields_of() {
  using Sizes = cuda::Sizes<Model, float>;
  return {Model::kName, Model::kState, Model::kParams, Model::kInputs,
          Sizes::S,     Sizes::P,      Sizes::X};
}

ffi::Error too_many_axes(const char* model) {
  return invalid(
      std::string(model) + ": the operands repeat along so many different axes that more than " +
      std::to_string(kMaxRank) +
      " remain after merging those that all walk in step. Broadcast the parameters to the "
      "shape of the state, or nest fewer vmaps.");
}

template <class Model>
ffi::Error forward(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets,
                   int64_t lane_axes, int64_t every, bool hard) {
  using Sizes = cuda::Sizes<Model, float>;
  constexpr int S = Sizes::S, P = Sizes::P;
  NeuronOperands o(fields_of<Model>(), args, rets, lane_axes);
  if (auto error = o.read_forward(every); error.failure()) return error;
  if (auto error = poison(stream, args, rets); error.failure()) return error;
  o.merge();
  cuda::Grid grid;
  if (!place_lanes(o.lanes(), &grid)) return too_many_axes(Model::kName);
  return by_float_type(o.arg(0), [&](auto zero) {
    using T = decltype(zero);
    cuda::ForwardArgs<Model, T> a{};
    a.grid = grid;
    a.steps = o.steps();
    a.every = o.keeps() ? o.every() : 0;
    a.hard = hard;
    place(o, 0, a.state0);
    place(o, S, a.params);
    place(o, S + P, a.inputs);
    place_results(o, 0, a.state1);
    place_results(o, S, a.spikes);
    if (o.keeps()) place_results(o, S + 1, a.checkpoints);
    const int threads = cuda::threads_for(grid.lanes);
    return checked(cuda::launch<&cuda::forward<Model, T>>(
                       stream, cuda::blocks_for(grid.lanes, threads), threads, 0, a),
                   Model::kName);
  });
}

template <class Model>
ffi::Error backward(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets,
                    int64_t lane_axes, int64_t every, bool hard, int32_t surrogate) {
  using Sizes = cuda::Sizes<Model, float>;
  constexpr int S = Sizes::S, P = Sizes::P, X = Sizes::X;
  constexpr int kState = S + P + X, kSpikes = kState + S, kOperands = kSpikes + 1;
  NeuronOperands o(fields_of<Model>(), args, rets, lane_axes);
  if (auto error = o.read_backward(every, surrogate); error.failure()) return error;
  if (auto error = poison(stream, args, rets); error.failure()) return error;
  bool want_params = false;
  for (int k = S + X; k < S + X + P; ++k) want_params |= !o.unwanted(k);
  o.merge();
  cuda::Grid grid;
  if (!place_lanes(o.lanes(), &grid)) return too_many_axes(Model::kName);
  return by_float_type(o.arg(0), [&](auto zero) {
    using T = decltype(zero);
    const int threads = cuda::threads_for(grid.lanes);
    cuda::BackwardArgs<Model, T> a{};
    a.grid = grid;
    a.steps = o.steps();
    a.every = o.every();
    a.room = cuda::room_for<Model, T>(threads, o.every());
    a.hard = hard;
    a.surrogate = Surrogate(surrogate);
    place(o, 0, a.checkpoints);
    place(o, S, a.params);
    place(o, S + P, a.inputs);
    place(o, kState, a.d_state1);
    place(o, kSpikes, a.d_spikes);
    place(o, kOperands, a.surrogate_operands);
    place_results(o, 0, a.d_state0);
    place_results(o, S, a.d_inputs);
    place_results(o, S + X, a.d_params);
    const int64_t blocks = cuda::blocks_for(grid.lanes, threads);
    const size_t shared = cuda::shared_bytes<Model, T>(threads, a.room);
    return checked(
        want_params
            ? cuda::launch<&cuda::backward<Model, T, true>>(stream, blocks, threads, shared, a)
            : cuda::launch<&cuda::backward<Model, T, false>>(stream, blocks, threads, shared, a),
        Model::kName);
  });
}

template <class Model>
XLA_FFI_Error* forward_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::PlatformStream<cudaStream_t>>()
                             .RemainingArgs()
                             .RemainingRets()
                             .Attr<int64_t>("lane_axes")
                             .Attr<int64_t>("every")
                             .Attr<bool>("hard")
                             .To(&forward<Model>, kGraphSafe)
                             .release();
  return handler->Call(frame);
}

template <class Model>
XLA_FFI_Error* backward_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::PlatformStream<cudaStream_t>>()
                             .RemainingArgs()
                             .RemainingRets()
                             .Attr<int64_t>("lane_axes")
                             .Attr<int64_t>("every")
                             .Attr<bool>("hard")
                             .Attr<int32_t>("surrogate")
                             .To(&backward<Model>, kGraphSafe)
                             .release();
  return handler->Call(frame);
}

template <class Model>
void add_model(std::vector<Kernel>& kernels) {
  const auto add = [&](const char* direction, XLA_FFI_Handler* handler) {
    kernels.push_back({std::string("spikexla.") + Model::kName + "." + direction + ".v1", "CUDA",
                       Model::kName, Model::kState, Model::kParams, Model::kInputs,
                       reinterpret_cast<void*>(handler)});
  };
  add("forward", &forward_handler<Model>);
  add("backward", &backward_handler<Model>);
}

template <class... M>
void add_models(std::vector<Kernel>& kernels, TypeList<M...>) {
  (add_model<M>(kernels), ...);
}

}  // namespace

void add_neuron_kernels(std::vector<Kernel>& kernels) { add_models(kernels, Models{}); }

}  // namespace spikexla
