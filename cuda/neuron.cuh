// The time loop of any neuron model on a GPU: one thread a lane.
//
// The twin of csrc/cpu/neuron.h. State and parameters stay in registers for the whole run, and
// neighbouring threads own neighbouring lanes, so each step reads and writes whole rows. Results
// are those of the CPU bit for bit: the same headers, no contraction, denormal floats flushed on
// both.
#pragma once

#include "lanes.cuh"
#include "surrogate.h"

SPIKEXLA_BEGIN

namespace cuda {

template <class Model, class T>
struct Sizes {
  static constexpr int S = size_of<typename Model::template State<T>, T>;
  static constexpr int P = size_of<typename Model::template Params<T>, T>;
  static constexpr int X = size_of<typename Model::template Inputs<T>, T>;
};

// Steps whose operands are read together. A step depends on the one before, its inputs do not: with
// one read in flight a thread would wait for device memory at every step.
template <class T>
inline constexpr int kAhead = 32 / sizeof(T);

// Likewise on the way back, where a step holds twice as many numbers: more would spill.
template <class T>
inline constexpr int kAheadBack = 16 / sizeof(T);

template <class Model, class T>
struct ForwardArgs {
  Grid grid;
  int64_t steps;
  int64_t every;  // keep the state each so many steps; 0: never
  bool hard;
  Operand<const T> state0[Sizes<Model, T>::S];
  Operand<const T> params[Sizes<Model, T>::P];
  Operand<const T> inputs[Sizes<Model, T>::X];
  Operand<T> state1[Sizes<Model, T>::S];  // may share the memory of state0
  Operand<T> spikes[1];
  Operand<T> checkpoints[Sizes<Model, T>::S];
};

template <class Model, class T>
__global__ void __launch_bounds__(128) forward(const __grid_constant__ ForwardArgs<Model, T> a) {
  constexpr int X = Sizes<Model, T>::X;
  const int64_t lane = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (lane >= a.grid.lanes) return;
  const Place place(a.grid, lane);
  auto state = read_lane<typename Model::template State<T>>(a.state0, place);
  const auto params = read_lane<typename Model::template Params<T>>(a.params, place);
  Walk<const T, X> inputs(a.inputs, place);
  Walk<T, 1> spikes(a.spikes, place);
  Walk<T, Sizes<Model, T>::S> checkpoints(a.checkpoints, place);
  int64_t until_kept = a.every ? 0 : -1;
  for (int64_t t = 0; t < a.steps; t += kAhead<T>) {
    T now[kAhead<T>][X];
#pragma unroll
    for (int j = 0; j < kAhead<T>; ++j)
      if (t + j < a.steps) {
        read(inputs, now[j]);
        inputs.forth();
      }
#pragma unroll
    for (int j = 0; j < kAhead<T>; ++j)
      if (t + j < a.steps) {
        if (until_kept == 0) {
          write(state, checkpoints);
          checkpoints.forth();
          until_kept = a.every;
        }
        --until_kept;
        *spikes.at[0] =
            Model::step(state, params, pack<typename Model::template Inputs<T>>(now[j]), a.hard);
        spikes.forth();
      }
  }
  write_lane(state, a.state1, place);
}

template <class Model, class T>
struct BackwardArgs {
  Grid grid;
  int64_t steps, every;
  int64_t room;  // states of one lane that shared memory holds
  bool hard;
  Surrogate surrogate;
  Operand<const T> surrogate_operands[2];
  Operand<const T> checkpoints[Sizes<Model, T>::S];
  Operand<const T> params[Sizes<Model, T>::P];
  Operand<const T> inputs[Sizes<Model, T>::X];
  Operand<const T> d_state1[Sizes<Model, T>::S];
  Operand<const T> d_spikes[1];
  Operand<T> d_state0[Sizes<Model, T>::S];
  Operand<T> d_inputs[Sizes<Model, T>::X];
  Operand<T> d_params[Sizes<Model, T>::P];
};

// Every thread of the grid takes the same case, so this costs a few scalar comparisons a step. A
// kernel for each kind would save these, and make nine times as many kernels to compile and load.
template <class T>
__device__ __forceinline__ T slope_at(Surrogate kind, T x, T a, T b) {
  switch (kind) {
#define SPIKEXLA_CASE(k) \
  case Surrogate::k:     \
    return surrogate_slope<Surrogate::k>(x, a, b);
    SPIKEXLA_CASE(kReluGrad)
    SPIKEXLA_CASE(kSigmoid)
    SPIKEXLA_CASE(kArctan)
    SPIKEXLA_CASE(kSoftSign)
    SPIKEXLA_CASE(kInvSquareGrad)
    SPIKEXLA_CASE(kPiecewiseQuadratic)
    SPIKEXLA_CASE(kPiecewiseExp)
    SPIKEXLA_CASE(kGaussianGrad)
    SPIKEXLA_CASE(kSlayerGrad)
#undef SPIKEXLA_CASE
  }
  return T(0);
}

// The states of one lane in shared memory: row (k, field), a column a thread, so that no two
// threads of a warp meet in a bank. Registers cannot hold them, because the step is a run-time
// index.
template <class State, class T, int S>
struct KeptStates {
  T* column;
  __device__ explicit KeptStates(void* shared) : column(static_cast<T*>(shared) + threadIdx.x) {}
  __device__ void put(int k, const State& s) const {
    T numbers[S];
    memcpy(numbers, &s, sizeof s);
#pragma unroll
    for (int f = 0; f < S; ++f) column[(k * S + f) * int(blockDim.x)] = numbers[f];
  }
  __device__ State get(int k) const {
    T numbers[S];
#pragma unroll
    for (int f = 0; f < S; ++f) numbers[f] = column[(k * S + f) * int(blockDim.x)];
    return pack<State>(numbers);
  }
};

// One lane of a backward call. What it reads and writes moves from the last step to the first,
// once.
template <class Model, class T, bool kWantParams>
struct Lane {
  static constexpr int S = Sizes<Model, T>::S, X = Sizes<Model, T>::X;
  using State = typename Model::template State<T>;
  using Params = typename Model::template Params<T>;
  using Inputs = typename Model::template Inputs<T>;

  const BackwardArgs<Model, T>& a;
  const Params params;
  const T surrogate_a, surrogate_b;
  Walk<const T, S> checkpoints;
  Walk<const T, X> inputs;
  Walk<const T, 1> d_spikes;
  Walk<T, X> d_inputs;
  State ds;
  Params dp;

  __device__ Lane(const BackwardArgs<Model, T>& a, int64_t segments, const Place& place)
      : a(a),
        params(read_lane<Params>(a.params, place)),
        surrogate_a(*place.seek(a.surrogate_operands[0])),
        surrogate_b(*place.seek(a.surrogate_operands[1])),
        checkpoints(a.checkpoints, place, segments - 1),
        inputs(a.inputs, place, a.steps - 1),
        d_spikes(a.d_spikes, place, a.steps - 1),
        d_inputs(a.d_inputs, place, a.steps - 1),
        ds(read_lane<State>(a.d_state1, place)),
        dp{} {}

  __device__ State checkpoint() const {
    T numbers[S];
    read(checkpoints, numbers);
    return pack<State>(numbers);
  }

  __device__ T slope(const State& s) const {
    return slope_at(a.surrogate, Model::distance(s, params), surrogate_a, surrogate_b);
  }

  // Over `steps` steps, of which the first lies `before` steps before the step that `inputs` is at;
  // `visit(k, state)` sees the state before each.
  template <class Visit>
  __device__ void advance(State& s, int64_t before, int64_t steps, const Visit& visit) const {
    Walk<const T, X> ahead = inputs;
    ahead.forth(-before);
    for (int64_t k = 0; k < steps; k += kAhead<T>) {
      T now[kAhead<T>][X];
#pragma unroll
      for (int j = 0; j < kAhead<T>; ++j)
        if (k + j < steps) {
          read(ahead, now[j]);
          ahead.forth();
        }
#pragma unroll
      for (int j = 0; j < kAhead<T>; ++j)
        if (k + j < steps) {
          visit(int(k) + j, s);
          Model::step(s, params, pack<Inputs>(now[j]), a.hard);
        }
    }
  }

  // Backward over the next `steps` steps, whose states are kept; `next` is the state after them.
  __device__ void retreat(const KeptStates<State, T, S>& kept, State next, int steps) {
    T next_slope = slope(next);
    for (int k = steps; k > 0; k -= kAheadBack<T>) {
      T now[kAheadBack<T>][X], d_spike[kAheadBack<T>][1];
#pragma unroll
      for (int j = 0; j < kAheadBack<T>; ++j)
        if (k > j) {
          read(inputs, now[j]);
          read(d_spikes, d_spike[j]);
          inputs.back();
          d_spikes.back();
        }
#pragma unroll
      for (int j = 0; j < kAheadBack<T>; ++j)
        if (k > j) {
          const State s = kept.get(k - j - 1);
          const T s_slope = slope(s);
          Inputs din{};
          Model::template step_vjp<kWantParams>(s, next, params, pack<Inputs>(now[j]), a.hard,
                                                s_slope, next_slope, d_spike[j][0], ds, dp, din);
          write(din, d_inputs);
          d_inputs.back();
          next = s;
          next_slope = s_slope;
        }
    }
  }
};

// Segments of `every` steps, last first: the states of a segment are computed again from its
// checkpoint. A segment longer than `room` is served in parts, each with a run-up from the
// checkpoint: any `every` is right, and those that fit cost nothing extra.
template <class Model, class T, bool kWantParams>
__global__ void __launch_bounds__(128) backward(const __grid_constant__ BackwardArgs<Model, T> a) {
  constexpr int S = Sizes<Model, T>::S;
  using State = typename Model::template State<T>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t index = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (index >= a.grid.lanes) return;
  const KeptStates<State, T, S> kept(shared);
  const int64_t segments = (a.steps + a.every - 1) / a.every;
  Lane<Model, T, kWantParams> lane(a, segments, Place(a.grid, index));
  for (int64_t segment = segments - 1; segment >= 0; --segment) {
    const int64_t left = a.steps - segment * a.every;
    const int64_t length = left < a.every ? left : a.every;
    for (int64_t part = (length - 1) / a.room * a.room; part >= 0; part -= a.room) {
      const int steps = int(length - part < a.room ? length - part : a.room);
      State s = lane.checkpoint();
      if (part > 0) lane.advance(s, part + steps - 1, part, [](int, const State&) {});
      lane.advance(s, steps - 1, steps, [&](int k, const State& at) { kept.put(k, at); });
      lane.retreat(kept, s, steps);
    }
    lane.checkpoints.back();
  }
  const Place place(a.grid, index);  // again, rather than in registers all the while
  write_lane(lane.ds, a.d_state0, place);
  if constexpr (kWantParams) write_lane(lane.dp, a.d_params, place);
}

// Bytes of shared memory of a block: few enough that a multiprocessor holds seven such blocks.
inline constexpr int64_t kMostShared = 32768;

// The largest `room` of a block of `threads`, for a segment of `every` steps.
template <class Model, class T>
int64_t room_for(int threads, int64_t every) {
  const int64_t most = kMostShared / (threads * int64_t{sizeof(T)} * Sizes<Model, T>::S);
  return every < most ? every : most;
}

template <class Model, class T>
size_t shared_bytes(int threads, int64_t room) {
  return size_t(threads) * size_t(room) * sizeof(T) * Sizes<Model, T>::S;
}

}  // namespace cuda

SPIKEXLA_END
