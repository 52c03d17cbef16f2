// XLA handlers of the neuron models on the CPU: buffers in, blocks of lanes out. No mathematics.
//
// forward:  state..., params..., inputs...
//        -> state..., spikes; then checkpoints..., if they are wanted
// backward: checkpoints..., params..., inputs..., d_state..., d_spikes, surrogate operands
//        -> d_state..., d_inputs..., d_params...
//
// state, params: (*vmap, *lanes). inputs, spikes: (*vmap, time, *lanes). checkpoints: (*vmap,
// ceil(time / every), *lanes). An axis of size 1 repeats. A gradient that nobody wants has 0
// elements.
#include <vector>

#include "ffi/buffers.h"
#include "ffi/registry.h"
#include "lanes.h"
#include "models.h"

namespace spikexla {
namespace {

using abi::kMaxFields;

// A lane-step costs about a nanosecond; below this much work a helper costs more than it brings.
constexpr int64_t kWorthAHelper = 16384;

int64_t helpers_for(const ffi::ThreadPool& pool, int64_t lane_steps) {
  const int64_t most = std::min<int64_t>(pool.num_threads(), abi::thread_limit() - 1);
  return std::min(most, lane_steps / kWorthAHelper);
}

// All operands and results of one call, lined up with its lanes.
class Operands {
 public:
  Operands(ffi::RemainingArgs args, ffi::RemainingRets rets, const Lanes& lanes)
      : args_(args), rets_(rets), lanes_(lanes), in_(args.size()), out_(rets.size()) {}

  // Operand k; one with a time axis has `steps` of them, or one that repeats.
  bool arg(int k, bool has_time, int64_t steps) {
    if (!lanes_.add(args_.get<ffi::AnyBuffer>(k)->dimensions(), has_time, &in_[k])) return false;
    if (has_time && in_[k].steps != 1 && in_[k].steps != steps) return false;
    views_.push_back(&in_[k]);
    return true;
  }
  // An operand with the axes of vmap alone: one value for all lanes of an item.
  bool scalar(int k, int64_t lane_axes) {
    Axes dims;
    for (const int64_t d : args_.get<ffi::AnyBuffer>(k)->dimensions()) dims.push_back(d);
    for (int64_t j = 0; j < lane_axes; ++j) dims.push_back(1);
    if (!lanes_.add(dims, false, &in_[k])) return false;
    views_.push_back(&in_[k]);
    return true;
  }
  bool varies_along_row(int k) const { return in_[k].strides.back() != 0; }
  bool ret(int k, bool has_time) {
    if (!lanes_.add((*rets_.get<ffi::AnyBuffer>(k))->dimensions(), has_time, &out_[k]))
      return false;
    views_.push_back(&out_[k]);
    return true;
  }
  void merge() { lanes_.merge(views_); }

  template <class T>
  abi::Stream<T> stream(int k, int64_t row, int64_t lane) const {
    const T* data = reinterpret_cast<const T*>(args_.get<ffi::AnyBuffer>(k)->untyped_data());
    return {data + lanes_.offset(in_[k], row, lane), in_[k].strides.back(), in_[k].time};
  }
  template <class T>
  T* result(int k, int64_t row, int64_t lane) const {
    T* data = reinterpret_cast<T*>((*rets_.get<ffi::AnyBuffer>(k))->untyped_data());
    return data + lanes_.offset(out_[k], row, lane);
  }
  int64_t result_row(int k) const { return out_[k].time; }
  int64_t result_steps(int k) const { return out_[k].steps; }
  bool empty_result(int k) const { return (*rets_.get<ffi::AnyBuffer>(k))->element_count() == 0; }
  const Lanes& lanes() const { return lanes_; }

 private:
  ffi::RemainingArgs args_;
  ffi::RemainingRets rets_;
  Lanes lanes_;
  static constexpr size_t kMost = 5 * kMaxFields;  // state, parameters, inputs and their gradients
  Few<View, kMost> in_, out_;
  Few<View*, 2 * kMost> views_;
};

// Runs body(row, first lane, lanes, task, threads) over blocks of at most `most` lanes on the pool,
// as many in each row as gives every thread the same share. A task has `least` lanes or more.
template <class Body>
void over_blocks(ffi::ThreadPool& pool, const Lanes& lanes, int64_t most, int64_t least,
                 const Body& body) {
  if (lanes.size() == 0) return;
  const int64_t threads = 1 + helpers_for(pool, lanes.size() * std::max<int64_t>(1, lanes.steps()));
  const int64_t share = std::min(lanes.row(), (lanes.size() + threads - 1) / threads);
  int64_t blocks = (lanes.row() + std::min(most, share) - 1) / std::min(most, share);
  if (lanes.rows() == 1) blocks = (blocks + threads - 1) / threads * threads;
  const int64_t even = ((lanes.row() + blocks - 1) / blocks + 63) / 64 * 64;
  const int64_t block = std::min(most, even);
  blocks = (lanes.row() + block - 1) / block;
  const int64_t all = blocks * lanes.rows();
  // Blocks of one task lie side by side: pages are then faulted in by one thread each.
  const int64_t per_task =
      std::max({int64_t{1}, all / (16 * threads), (least + block - 1) / block});
  parallel_for(pool, (all + per_task - 1) / per_task, threads - 1, [&](int64_t task) {
    for (int64_t b = task * per_task; b < std::min(all, (task + 1) * per_task); ++b) {
      const int64_t lane = b % blocks * block;
      body(b / blocks, lane, std::min(block, lanes.row() - lane), task, threads);
    }
  });
}

template <class T>
const abi::NeuronLoops<T>& loops(int model) {
  if constexpr (sizeof(T) == 4) return abi::table().neurons[model].f32;
  else return abi::table().neurons[model].f64;
}

ffi::Error forward(int model, ffi::ThreadPool pool, ffi::RemainingArgs args,
                   ffi::RemainingRets rets, int64_t lane_axes, int64_t every, bool hard) {
  const abi::NeuronRow& n = abi::table().neurons[model];
  const int S = n.num_state, P = n.num_params, X = n.num_inputs;
  if (int(args.size()) != S + P + X || (int(rets.size()) != S + 1 && int(rets.size()) != 2 * S + 1))
    return invalid(std::string(n.model) + " forward: wrong number of arrays");
  const ffi::AnyBuffer spikes = **rets.get<ffi::AnyBuffer>(S);
  Operands o(args, rets, Lanes(spikes.dimensions(), lane_axes));
  const int64_t steps = o.lanes().steps();
  bool fits = o.ret(S, true);
  for (int k = 0; k < S + P + X; ++k) fits = fits && o.arg(k, k >= S + P, steps);
  for (int k = 0; k < S; ++k) fits = fits && o.ret(k, false);
  if (!fits)
    return invalid(std::string(n.model) + " forward: shapes do not fit " + describe(spikes));
  const bool keep = int(rets.size()) > S + 1 && !o.empty_result(S + 1) && every > 0;
  for (int k = S + 1; keep && k < 2 * S + 1; ++k)
    if (!o.ret(k, true) || o.result_steps(k) != (steps + every - 1) / every)
      return invalid("checkpoints do not fit " + describe(spikes));
  o.merge();
  for (int k = 0; k <= S; ++k) prefer_huge_pages(**rets.get<ffi::AnyBuffer>(k));
  char* const data = reinterpret_cast<char*>((**rets.get<ffi::AnyBuffer>(S)).untyped_data());
  const int64_t bytes = spikes.size_bytes();
  const bool fresh = bytes >= kAlwaysFresh;
  return by_float_type(spikes, [&](auto zero) {
    using T = decltype(zero);
    const int64_t most = abi::kForwardState / (S * sizeof(T));
    // With one step, threads stay out of each other's pages by taking several at a time.
    const int64_t least = fresh && steps == 1 ? kHugePage / int64_t(sizeof(T)) : 1;
    over_blocks(pool, o.lanes(), most, least,
                [&](int64_t row, int64_t lane, int64_t lanes, int64_t task, int64_t threads) {
                  abi::NeuronForward<T> a{};
                  if (bytes >= 2 * kHugePage && steps > 1)
                    a.pages = {data, data + bytes, task % threads, threads};
                  a.past_cache = fresh;
                  a.lanes = lanes;
                  a.steps = o.lanes().steps();
                  a.every = keep ? every : 0;
                  a.hard = hard;
                  for (int k = 0; k < S; ++k) {
                    a.state0[k] = o.stream<T>(k, row, lane);
                    a.state1[k] = o.result<T>(k, row, lane);
                    a.checkpoints[k] = keep ? o.result<T>(S + 1 + k, row, lane) : nullptr;
                  }
                  for (int k = 0; k < P; ++k) a.params[k] = o.stream<T>(S + k, row, lane);
                  for (int k = 0; k < X; ++k) a.inputs[k] = o.stream<T>(S + P + k, row, lane);
                  a.spikes = o.result<T>(S, row, lane);
                  a.row = o.result_row(S);
                  a.checkpoint_row = keep ? o.result_row(S + 1) : 0;
                  loops<T>(model).forward(a);
                });
    return ffi::Error::Success();
  });
}

ffi::Error backward(int model, ffi::ThreadPool pool, ffi::RemainingArgs args,
                    ffi::RemainingRets rets, int64_t lane_axes, int64_t every, bool hard,
                    int32_t surrogate) {
  const abi::NeuronRow& n = abi::table().neurons[model];
  const int S = n.num_state, P = n.num_params, X = n.num_inputs;
  const int kState = S + P + X, kSpikes = kState + S, kOperands = kSpikes + 1;
  if (int(args.size()) != kOperands + 2 || int(rets.size()) != S + X + P || every < 1)
    return invalid(std::string(n.model) + " backward: wrong number of arrays");
  const ffi::AnyBuffer d_spikes = *args.get<ffi::AnyBuffer>(kSpikes);
  const ffi::AnyBuffer d_state0 = **rets.get<ffi::AnyBuffer>(0);
  // The grid comes from a result: under vmap a cotangent of size 1 may stand for all of them.
  std::vector<int64_t> grid(d_state0.dimensions().begin(), d_state0.dimensions().end());
  if (d_spikes.dimensions().size() != grid.size() + 1 || int64_t(grid.size()) < lane_axes)
    return invalid(std::string(n.model) + " backward: shapes do not fit " + describe(d_spikes));
  const int64_t time_axis = int64_t(grid.size()) - lane_axes;
  grid.insert(grid.begin() + time_axis, d_spikes.dimensions()[time_axis]);
  Operands o(args, rets, Lanes(grid, lane_axes));
  const int64_t steps = o.lanes().steps();
  bool fits = o.arg(kSpikes, true, steps);
  for (int k = 0; k < kSpikes; ++k)
    fits = fits && o.arg(k, k < S || (k >= S + P && k < kState),
                         k < S ? (steps + every - 1) / every : steps);
  fits = fits && o.scalar(kOperands, lane_axes) && o.scalar(kOperands + 1, lane_axes);
  for (int k = 0; k < S + X + P; ++k)
    if (!o.empty_result(k)) fits = fits && o.ret(k, k >= S && k < S + X);
  if (!fits)
    return invalid(std::string(n.model) + " backward: shapes do not fit " + describe(d_spikes));
  for (int k = S; k < S + X; ++k) prefer_huge_pages(**rets.get<ffi::AnyBuffer>(k));
  o.merge();
  return by_float_type(d_spikes, [&](auto zero) {
    using T = decltype(zero);
    // A block has one surrogate. Items of a single lane may lie side by side with one each.
    const bool apart = o.varies_along_row(kOperands) || o.varies_along_row(kOperands + 1);
    over_blocks(pool, o.lanes(), apart ? 1 : abi::kBackwardLanes, 1,
                [&](int64_t row, int64_t lane, int64_t lanes, int64_t, int64_t) {
                  thread_local std::vector<T> scratch;
                  scratch.resize(abi::neuron_scratch(S, P, X, every));
                  abi::NeuronBackward<T> a{};
                  a.lanes = lanes;
                  a.steps = o.lanes().steps();
                  a.every = every;
                  a.hard = hard;
                  a.surrogate = surrogate;
                  a.surrogate_a = *o.stream<T>(kOperands, row, lane).at;
                  a.surrogate_b = *o.stream<T>(kOperands + 1, row, lane).at;
                  for (int k = 0; k < S; ++k) {
                    a.checkpoints[k] = o.stream<T>(k, row, lane);
                    a.d_state1[k] = o.stream<T>(kState + k, row, lane);
                    a.d_state0[k] = o.result<T>(k, row, lane);
                  }
                  for (int k = 0; k < P; ++k) {
                    a.params[k] = o.stream<T>(S + k, row, lane);
                    a.d_params[k] =
                        o.empty_result(S + X + k) ? nullptr : o.result<T>(S + X + k, row, lane);
                  }
                  for (int k = 0; k < X; ++k) {
                    a.inputs[k] = o.stream<T>(S + P + k, row, lane);
                    a.d_inputs[k] = o.empty_result(S + k) ? nullptr : o.result<T>(S + k, row, lane);
                    if (a.d_inputs[k]) a.row = o.result_row(S + k);
                  }
                  a.d_spikes = o.stream<T>(kSpikes, row, lane);
                  a.scratch = scratch.data();
                  loops<T>(model).backward(a);
                });
    return ffi::Error::Success();
  });
}

// One handler a model: XLA's handlers are plain function pointers, so the index is a template
// argument.
template <int kModel>
XLA_FFI_Error* forward_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler =
      ffi::Ffi::Bind()
          .Ctx<ffi::ThreadPool>()
          .RemainingArgs()
          .RemainingRets()
          .Attr<int64_t>("lane_axes")
          .Attr<int64_t>("every")
          .Attr<bool>("hard")
          .To([](ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                 int64_t lane_axes, int64_t every,
                 bool hard) { return forward(kModel, pool, args, rets, lane_axes, every, hard); })
          .release();
  return handler->Call(frame);
}

template <int kModel>
XLA_FFI_Error* backward_handler(XLA_FFI_CallFrame* frame) {
  static auto* handler =
      ffi::Ffi::Bind()
          .Ctx<ffi::ThreadPool>()
          .RemainingArgs()
          .RemainingRets()
          .Attr<int64_t>("lane_axes")
          .Attr<int64_t>("every")
          .Attr<bool>("hard")
          .Attr<int32_t>("surrogate")
          .To([](ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                 int64_t lane_axes, int64_t every, bool hard, int32_t surrogate) {
            return backward(kModel, pool, args, rets, lane_axes, every, hard, surrogate);
          })
          .release();
  return handler->Call(frame);
}

template <int kModel>
void add_model(std::vector<Kernel>& kernels) {
  const abi::NeuronRow& n = abi::table().neurons[kModel];
  const auto add = [&](const char* direction, XLA_FFI_Handler* handler) {
    kernels.push_back({std::string("spikexla.") + n.model + "." + direction + ".v1", "cpu", n.model,
                       n.state, n.params, n.inputs, reinterpret_cast<void*>(handler)});
  };
  add("forward", &forward_handler<kModel>);
  add("backward", &backward_handler<kModel>);
}

template <class... M>
constexpr int count(TypeList<M...>) {
  return sizeof...(M);
}

template <int... K>
void add_models(std::vector<Kernel>& kernels, std::integer_sequence<int, K...>) {
  (add_model<K>(kernels), ...);
}

}  // namespace

void add_neuron_kernels(std::vector<Kernel>& kernels) {
  add_models(kernels, std::make_integer_sequence<int, count(Models{})>{});
}

}  // namespace spikexla
