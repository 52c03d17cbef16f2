// XLA handlers of the neuron models on the CPU: buffers in, blocks of lanes out. No mathematics.
// The arrays and their shapes are those of ffi/neuron_operands.h.
#include "ffi/neuron_operands.h"
#include "ffi/registry.h"
#include "models.h"

namespace spikexla {
namespace {

// A lane-step costs about a nanosecond; below this much work a helper costs more than it brings.
constexpr int64_t kWorthAHelper = 16384;

int64_t helpers_for(const ffi::ThreadPool& pool, int64_t lane_steps) {
  const int64_t most = std::min<int64_t>(pool.num_threads(), abi::thread_limit() - 1);
  return std::min(most, lane_steps / kWorthAHelper);
}

NeuronFields fields_of(const abi::NeuronRow& n) {
  return {n.model, n.state, n.params, n.inputs, n.num_state, n.num_params, n.num_inputs};
}

// Where a block of one row starts in the arrays of a call.
struct Block {
  const NeuronOperands& o;
  int64_t row, lane;

  template <class T>
  abi::Stream<T> stream(int k) const {
    const T* data = static_cast<const T*>(o.arg(k).untyped_data());
    const View& view = o.in(k);
    return {data + o.lanes().offset(view, row, lane), view.strides.back(), view.time};
  }
  template <class T>
  T* result(int k) const {
    return static_cast<T*>(o.ret(k).untyped_data()) + o.lanes().offset(o.out(k), row, lane);
  }
  template <class T>
  T* wanted(int k) const {
    return o.unwanted(k) ? nullptr : result<T>(k);
  }
};

// Runs body(block, lanes, task, worker) over blocks of at most `most` lanes on the pool,
// as many in each row as gives every thread the same share. A task has `least` lanes or more.
template <class Body>
void over_blocks(ffi::ThreadPool& pool, const NeuronOperands& o, int64_t threads, int64_t most,
                 int64_t least, const Body& body) {
  const Lanes& lanes = o.lanes();
  if (lanes.size() == 0) return;
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
  parallel_for(
      pool, (all + per_task - 1) / per_task, threads - 1, [&](int64_t task, int64_t worker) {
        for (int64_t b = task * per_task; b < std::min(all, (task + 1) * per_task); ++b) {
          const int64_t lane = b % blocks * block;
          body(Block{o, b / blocks, lane}, std::min(block, lanes.row() - lane), task, worker);
        }
      });
}

template <class T>
const abi::NeuronLoops<T>& loops(int model) {
  if constexpr (sizeof(T) == 4) return abi::table().neurons[model].f32;
  else return abi::table().neurons[model].f64;
}

// How many threads share the lanes of a call.
int64_t threads_for(const ffi::ThreadPool& pool, const Lanes& lanes) {
  return 1 + helpers_for(pool, lanes.size() * std::max<int64_t>(1, lanes.steps()));
}

template <class T>
void run_forward(int model, ffi::ThreadPool& pool, const NeuronOperands& o, bool hard) {
  const abi::NeuronRow& n = abi::table().neurons[model];
  const int S = n.num_state, P = n.num_params, X = n.num_inputs;
  for (int k = 0; k <= S; ++k) prefer_huge_pages(o.ret(k));
  const int64_t spike_lane = o.lanes().lane(o.out(S)), bytes = o.ret(S).size_bytes();
  const bool apart = spike_lane != 1, fresh = bytes >= kAlwaysFresh && !apart;
  char* const data = static_cast<char*>(o.ret(S).untyped_data());
  const int64_t most = apart ? abi::kForwardPiece : abi::kForwardState / (S * sizeof(T));
  // With one step, threads stay out of each other's pages by taking several at a time.
  const int64_t least = fresh && o.steps() == 1 ? kHugePage / int64_t(sizeof(T)) : 1;
  const int64_t threads = threads_for(pool, o.lanes());
  const auto run = [&](const Block& block, int64_t lanes, int64_t task, int64_t) {
    abi::NeuronForward<T> a{};
    if (bytes >= 2 * kHugePage && o.steps() > 1 && !apart)
      a.pages = {data, data + bytes, task % threads, threads};
    a.past_cache = fresh;
    a.lanes = lanes;
    a.steps = o.steps();
    a.every = o.keeps() ? o.every() : 0;
    a.hard = hard;
    for (int k = 0; k < S; ++k) {
      a.state0[k] = block.stream<T>(k);
      a.state1[k] = block.result<T>(k);
      a.checkpoints[k] = o.keeps() ? block.result<T>(S + 1 + k) : nullptr;
    }
    for (int k = 0; k < P; ++k) a.params[k] = block.stream<T>(S + k);
    for (int k = 0; k < X; ++k) a.inputs[k] = block.stream<T>(S + P + k);
    a.spikes = block.result<T>(S);
    a.row = o.out(S).time;
    a.lane = spike_lane;
    a.checkpoint_row = o.keeps() ? o.out(S + 1).time : 0;
    a.checkpoint_lane = o.keeps() ? o.lanes().lane(o.out(S + 1)) : 1;
    loops<T>(model).forward(a);
  };
  over_blocks(pool, o, threads, most, least, run);
}

template <class T>
void run_backward(int model, ffi::ThreadPool& pool, const NeuronOperands& o, bool hard,
                  int32_t surrogate) {
  const abi::NeuronRow& n = abi::table().neurons[model];
  const int S = n.num_state, P = n.num_params, X = n.num_inputs;
  const int state = S + P + X, spikes = state + S, operands = spikes + 1;
  for (int k = S; k < S + X; ++k) prefer_huge_pages(o.ret(k));
  // A block has one surrogate. Items of a single lane may lie side by side with one each.
  const bool mixed = o.in(operands).strides.back() != 0 || o.in(operands + 1).strides.back() != 0;
  const int64_t most = mixed ? 1 : std::min(o.lanes().row(), abi::kBackwardLanes);
  const int64_t width = (most + 15) / 16 * 16;  // whole cache lines
  const int64_t threads = threads_for(pool, o.lanes());
  const int64_t each = times(width, abi::backward_rows(S, P, X, o.every()));
  const Room<T> scratch(o.lanes().size() == 0 ? 0 : times(each, threads));
  const auto run = [&](const Block& block, int64_t lanes, int64_t, int64_t worker) {
    abi::NeuronBackward<T> a{};
    a.lanes = lanes;
    a.steps = o.steps();
    a.every = o.every();
    a.hard = hard;
    a.surrogate = surrogate;
    a.surrogate_a = *block.stream<T>(operands).at;
    a.surrogate_b = *block.stream<T>(operands + 1).at;
    for (int k = 0; k < S; ++k) {
      a.checkpoints[k] = block.stream<T>(k);
      a.d_state1[k] = block.stream<T>(state + k);
      a.d_state0[k] = block.result<T>(k);
    }
    for (int k = 0; k < P; ++k) {
      a.params[k] = block.stream<T>(S + k);
      a.d_params[k] = block.wanted<T>(S + X + k);
    }
    for (int k = 0; k < X; ++k) {
      a.inputs[k] = block.stream<T>(S + P + k);
      a.d_inputs[k] = block.wanted<T>(S + k);
      if (!a.d_inputs[k]) continue;
      a.row = o.out(S + k).time;
      a.lane = o.lanes().lane(o.out(S + k));
    }
    a.d_spikes = block.stream<T>(spikes);
    a.width = width;
    a.scratch = scratch.data() + worker * each;
    loops<T>(model).backward(a);
  };
  over_blocks(pool, o, threads, most, 1, run);
}

ffi::Error forward(int model, ffi::ThreadPool pool, ffi::RemainingArgs args,
                   ffi::RemainingRets rets, int64_t lane_axes, int64_t every, bool hard) {
  NeuronOperands o(fields_of(abi::table().neurons[model]), args, rets, lane_axes);
  return guarded(abi::table().neurons[model].model, "Free some.", [&] {
    if (auto error = o.read_forward(every); error.failure()) return error;
    poison(args, rets);
    o.merge();
    return by_float_type(o.arg(0), [&](auto zero) {
      run_forward<decltype(zero)>(model, pool, o, hard);
      return ffi::Error::Success();
    });
  });
}

ffi::Error backward(int model, ffi::ThreadPool pool, ffi::RemainingArgs args,
                    ffi::RemainingRets rets, int64_t lane_axes, int64_t every, bool hard,
                    int32_t surrogate) {
  NeuronOperands o(fields_of(abi::table().neurons[model]), args, rets, lane_axes);
  const char* advice = "Take a smaller checkpoint_every, or fewer threads.";
  return guarded(abi::table().neurons[model].model, advice, [&] {
    if (auto error = o.read_backward(every, surrogate); error.failure()) return error;
    poison(args, rets);
    o.merge();
    return by_float_type(o.arg(0), [&](auto zero) {
      run_backward<decltype(zero)>(model, pool, o, hard, surrogate);
      return ffi::Error::Success();
    });
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
