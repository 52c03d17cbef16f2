// XLA handlers of the neuron models on a GPU: buffers in, one launch out. No mathematics.
//
// The twin of csrc/ffi/neuron.cc, with the same arguments, results, attributes and shapes.
#include <vector>

#include "ffi/launches.cuh"
#include "ffi/registry.h"
#include "lanes.h"
#include "launch.cuh"
#include "models.h"
#include "neuron.cuh"

namespace spikexla {
namespace {

using cuda::kMaxRank;

// All operands and results of one call, lined up with its lanes.
class Operands {
 public:
  Operands(ffi::RemainingArgs args, ffi::RemainingRets rets, const Lanes& lanes, int64_t lane_axes)
      : args_(args),
        rets_(rets),
        lanes_(lanes),
        lane_axes_(lane_axes),
        in_(args.size()),
        out_(rets.size()) {}

  // Operand k; one with a time axis has `steps` of them, or one that repeats.
  bool arg(int k, bool has_time, int64_t steps) {
    const auto dims = args_.get<ffi::AnyBuffer>(k)->dimensions();
    if (!same_type(*args_.get<ffi::AnyBuffer>(k)) || !lanes_.add(dims, has_time, &in_[k]))
      return false;
    if (has_time && in_[k].steps != 1 && in_[k].steps != steps) return false;
    views_.push_back(&in_[k]);
    return true;
  }
  // An operand with the axes of vmap alone: one value for all lanes.
  bool scalar(int k) {
    const auto dims = args_.get<ffi::AnyBuffer>(k)->dimensions();
    std::vector<int64_t> all(dims.begin(), dims.end());
    all.resize(all.size() + lane_axes_, 1);
    if (!same_type(*args_.get<ffi::AnyBuffer>(k)) || !lanes_.add(all, false, &in_[k])) return false;
    views_.push_back(&in_[k]);
    return true;
  }
  bool ret(int k, bool has_time) {
    const ffi::AnyBuffer b = **rets_.get<ffi::AnyBuffer>(k);
    if (!same_type(b) || !lanes_.add(b.dimensions(), has_time, &out_[k])) return false;
    views_.push_back(&out_[k]);
    return true;
  }

  // The lanes as kernels take them. False if more axes are left than kernels have room for.
  bool merge(cuda::Grid* grid) {
    lanes_.merge(views_);
    const auto& dims = lanes_.dims();
    if (int(dims.size()) > kMaxRank) return false;
    grid->lanes = lanes_.size();
    grid->rank = int(dims.size());
    for (int k = 0; k < kMaxRank; ++k)
      grid->dims[k] = k < grid->rank ? dims[grid->rank - 1 - k] : 1;
    return true;
  }

  template <class T, int N>
  void place(int first, cuda::Operand<const T> (&to)[N]) const {
    for (int k = 0; k < N; ++k)
      to[k] =
          operand<const T>(in_[first + k], args_.get<ffi::AnyBuffer>(first + k)->untyped_data());
  }
  template <class T, int N>
  void place_results(int first, cuda::Operand<T> (&to)[N]) const {
    for (int k = 0; k < N; ++k)
      if (!empty_result(first + k))
        to[k] =
            operand<T>(out_[first + k], (*rets_.get<ffi::AnyBuffer>(first + k))->untyped_data());
  }
  int64_t result_steps(int k) const { return out_[k].steps; }
  bool empty_result(int k) const { return (*rets_.get<ffi::AnyBuffer>(k))->element_count() == 0; }
  int64_t steps() const { return lanes_.steps(); }

 private:
  template <class T>
  cuda::Operand<T> operand(const View& view, void* data) const {
    cuda::Operand<T> o{reinterpret_cast<T*>(data), view.time, {}};
    const int rank = int(view.strides.size());
    for (int k = 0; k < rank; ++k) o.strides[k] = view.strides[rank - 1 - k];
    return o;
  }
  bool same_type(const ffi::AnyBuffer& b) {
    if (type_ == ffi::DataType::INVALID) type_ = b.element_type();
    return b.element_type() == type_;
  }

  ffi::RemainingArgs args_;
  ffi::RemainingRets rets_;
  Lanes lanes_;
  int64_t lane_axes_;
  ffi::DataType type_ = ffi::DataType::INVALID;
  std::vector<View> in_, out_;
  std::vector<View*> views_;
};

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
  constexpr int S = Sizes::S, P = Sizes::P, X = Sizes::X;
  if (int(args.size()) != S + P + X || (int(rets.size()) != S + 1 && int(rets.size()) != 2 * S + 1))
    return invalid(std::string(Model::kName) + " forward: wrong number of arrays");
  const ffi::AnyBuffer spikes = **rets.get<ffi::AnyBuffer>(S);
  Operands o(args, rets, Lanes(spikes.dimensions(), lane_axes), lane_axes);
  const int64_t steps = o.steps();
  bool fits = o.ret(S, true);
  for (int k = 0; k < S + P + X; ++k) fits = fits && o.arg(k, k >= S + P, steps);
  for (int k = 0; k < S; ++k) fits = fits && o.ret(k, false);
  if (!fits)
    return invalid(std::string(Model::kName) + " forward: shapes do not fit " + describe(spikes));
  const bool keep = int(rets.size()) > S + 1 && !o.empty_result(S + 1) && every > 0;
  for (int k = S + 1; keep && k < 2 * S + 1; ++k)
    if (!o.ret(k, true) || o.result_steps(k) != (steps + every - 1) / every)
      return invalid("checkpoints do not fit " + describe(spikes));
  cuda::Grid grid;
  if (!o.merge(&grid)) return too_many_axes(Model::kName);
  return by_float_type(spikes, [&](auto zero) {
    using T = decltype(zero);
    cuda::ForwardArgs<Model, T> a{};
    a.grid = grid;
    a.steps = steps;
    a.every = keep ? every : 0;
    a.hard = hard;
    o.place(0, a.state0);
    o.place(S, a.params);
    o.place(S + P, a.inputs);
    o.place_results(0, a.state1);
    o.place_results(S, a.spikes);
    if (keep) o.place_results(S + 1, a.checkpoints);
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
  if (int(args.size()) != kOperands + 2 || int(rets.size()) != S + X + P || every < 1)
    return invalid(std::string(Model::kName) + " backward: wrong number of arrays");
  const ffi::AnyBuffer d_spikes = *args.get<ffi::AnyBuffer>(kSpikes);
  const ffi::AnyBuffer d_state0 = **rets.get<ffi::AnyBuffer>(0);
  // The grid comes from a result: under vmap a cotangent of size 1 may stand for all of them.
  std::vector<int64_t> wide(d_state0.dimensions().begin(), d_state0.dimensions().end());
  if (d_spikes.dimensions().size() != wide.size() + 1 || int64_t(wide.size()) < lane_axes)
    return invalid(std::string(Model::kName) + " backward: shapes do not fit " +
                   describe(d_spikes));
  const int64_t time_axis = int64_t(wide.size()) - lane_axes;
  wide.insert(wide.begin() + time_axis, d_spikes.dimensions()[time_axis]);
  Operands o(args, rets, Lanes(wide, lane_axes), lane_axes);
  const int64_t steps = o.steps();
  bool fits = o.arg(kSpikes, true, steps);
  for (int k = 0; k < kSpikes; ++k)
    fits = fits && o.arg(k, k < S || (k >= S + P && k < kState),
                         k < S ? (steps + every - 1) / every : steps);
  fits = fits && o.scalar(kOperands) && o.scalar(kOperands + 1);
  bool want_params = false;
  for (int k = 0; k < S + X + P; ++k) {
    if (o.empty_result(k)) continue;
    fits = fits && o.ret(k, k >= S && k < S + X);
    want_params |= k >= S + X;
  }
  if (!fits)
    return invalid(std::string(Model::kName) + " backward: shapes do not fit " +
                   describe(d_spikes));
  cuda::Grid grid;
  if (!o.merge(&grid)) return too_many_axes(Model::kName);
  return by_float_type(d_spikes, [&](auto zero) {
    using T = decltype(zero);
    const int threads = cuda::threads_for(grid.lanes);
    cuda::BackwardArgs<Model, T> a{};
    a.grid = grid;
    a.steps = steps;
    a.every = every;
    a.room = cuda::room_for<Model, T>(threads, every);
    a.hard = hard;
    a.surrogate = Surrogate(surrogate);
    o.place(0, a.checkpoints);
    o.place(S, a.params);
    o.place(S + P, a.inputs);
    o.place(kState, a.d_state1);
    o.place(kSpikes, a.d_spikes);
    o.place(kOperands, a.surrogate_operands);
    o.place_results(0, a.d_state0);
    o.place_results(S, a.d_inputs);
    o.place_results(S + X, a.d_params);
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
