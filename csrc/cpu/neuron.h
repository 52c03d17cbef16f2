// The time loop of any neuron model on the CPU, for one block of lanes.
//
// Lanes are the inner loop, so that the compiler vectorises over neurons; a block's state is small
// enough to stay in L1 for the whole run, so memory sees only the inputs and the spikes.
#pragma once

#include "cpu/easy.h"
#include "cpu/fresh_pages.h"
#include "cpu/pack_bits.h"
#include "cpu/streams.h"
#include "pack.h"
#include "surrogate.h"

SPIKEXLA_BEGIN

namespace cpu {
using namespace abi;

template <class Model, class T>
struct Sizes {
  static constexpr int S = size_of<typename Model::template State<T>, T>;
  static constexpr int P = size_of<typename Model::template Params<T>, T>;
  static constexpr int X = size_of<typename Model::template Inputs<T>, T>;
};

// One step of a block. kUniform: one set of parameters for all lanes, kept in registers.
template <class Model, class T, bool kUniform, bool kHard, bool kEasy>
void advance(int64_t lanes, Arrays<const T, Sizes<Model, T>::S> from,
             Arrays<T, Sizes<Model, T>::S> to, Arrays<const T, Sizes<Model, T>::P> params,
             Arrays<const T, Sizes<Model, T>::X> inputs, T* spikes) {
  using State = typename Model::template State<T>;
  using Params = typename Model::template Params<T>;
  using Inputs = typename Model::template Inputs<T>;
  const Params uniform = load<Params, T>(params, 0);
#pragma GCC ivdep
  for (int64_t i = 0; i < lanes; ++i) {
    State s = load<State, T>(from, i);
    const Params p = kUniform ? uniform : load<Params, T>(params, i);
    spikes[i] = take_step<Model, kEasy, T>(s, p, load<Inputs, T>(inputs, i), kHard);
    store(s, to, i);
  }
}

// Whether every lane of a block may take the cheap form of its step.
template <class Model, class T>
bool all_easy(int64_t lanes, bool uniform, Arrays<const T, Sizes<Model, T>::P> params,
              Arrays<const T, Sizes<Model, T>::X> inputs) {
  if (is_always_easy<Model>()) return true;
  using Params = typename Model::template Params<T>;
  int hard_lanes = 0;
  const Params first = load<Params, T>(params, 0);
  for (int64_t i = 0; i < lanes; ++i) {
    const Params p = uniform ? first : load<Params, T>(params, i);
    hard_lanes |= !is_easy<Model>(p, load<typename Model::template Inputs<T>, T>(inputs, i));
  }
  return hard_lanes == 0;
}

template <class Model, class T, bool kUniform, bool kHard, class... Rest>
SPIKEXLA_HD void advance_easy(bool easy, Rest... rest) {
  if (easy) advance<Model, T, kUniform, kHard, true>(rest...);
  else advance<Model, T, kUniform, kHard, is_always_easy<Model>()>(rest...);
}

template <class Model, class T>
SPIKEXLA_HD void advance_known(bool easy, bool uniform, bool hard, int64_t lanes,
                               Arrays<const T, Sizes<Model, T>::S> from,
                               Arrays<T, Sizes<Model, T>::S> to,
                               Arrays<const T, Sizes<Model, T>::P> params,
                               Arrays<const T, Sizes<Model, T>::X> inputs, T* spikes) {
  if (uniform && hard)
    advance_easy<Model, T, true, true>(easy, lanes, from, to, params, inputs, spikes);
  else if (uniform)
    advance_easy<Model, T, true, false>(easy, lanes, from, to, params, inputs, spikes);
  else if (hard) advance_easy<Model, T, false, true>(easy, lanes, from, to, params, inputs, spikes);
  else advance_easy<Model, T, false, false>(easy, lanes, from, to, params, inputs, spikes);
}

template <class Model, class T>
SPIKEXLA_HD void advance_any(bool uniform, bool hard, int64_t lanes,
                             Arrays<const T, Sizes<Model, T>::S> from,
                             Arrays<T, Sizes<Model, T>::S> to,
                             Arrays<const T, Sizes<Model, T>::P> params,
                             Arrays<const T, Sizes<Model, T>::X> inputs, T* spikes) {
  const bool easy = all_easy<Model, T>(lanes, uniform, params, inputs);
  advance_known<Model, T>(easy, uniform, hard, lanes, from, to, params, inputs, spikes);
}

// The block walks through time as a whole, so that memory is read and written front to back; its
// state, in L2, is what each step goes through again. Pieces are small, so that reading the input
// of one overlaps with writing the spikes of the last.
template <class Model, class T>
void neuron_forward(const NeuronForward<T>& a) {
  constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  constexpr int64_t kPiece = kForwardPiece;
  if (a.steps == 0) {  // there are no inputs to look at
    for (int k = 0; k < S; ++k) gather(a.state1[k], a.state0[k].at, a.state0[k].lane, a.lanes);
    return;
  }
  alignas(64) T room[(S + P + X + 1) * kPiece];
  T* const aside = room + (S + P + X) * kPiece;  // spikes past the caches, or to lanes apart
  const bool uniform = all_uniform(a.params, P), apart = a.lane != 1;
  const Rows<T, S> start(a.state0, room, kPiece, a.lanes);
  const Rows<T, P> params(a.params, room + S * kPiece, kPiece, uniform ? 1 : a.lanes);
  Rows<T, X> inputs(a.inputs, room + (S + P) * kPiece, kPiece, a.lanes);
  const auto state = [&a](int64_t i) {
    Arrays<T, S> rows;
    for (int k = 0; k < S; ++k) rows.at[k] = a.state1[k] + i;
    return rows;
  };
  PageFront front(a.pages);
  const int64_t ahead = a.row > 0 ? 2 * kHugePage / (a.row * int64_t(sizeof(T))) : 0;
  int64_t prepared = 0;
  for (int64_t t = 0; t < a.steps; ++t) {
    for (; prepared < a.steps && prepared <= t + ahead; ++prepared)
      front.reach(a.spikes + prepared * a.row, a.spikes + prepared * a.row + a.lanes);
    inputs.step_to(a.inputs, t);
    for (int64_t i = 0; i < a.lanes; i += kPiece) {
      const int64_t n = a.lanes - i < kPiece ? a.lanes - i : kPiece;
      const Arrays<const T, S> from = t == 0 ? start.from(i) : as_const(state(i));
      if (a.every != 0 && t % a.every == 0)
        for (int k = 0; k < S; ++k)
          scatter(a.checkpoints[k] + t / a.every * a.checkpoint_row + i * a.checkpoint_lane,
                  a.checkpoint_lane, from.at[k], n);
      if (a.past_cache) prefetch(a.inputs, X, t, i + kPiece, kPiece);
      T* const spikes = a.spikes + t * a.row + i * a.lane;
      advance_any<Model, T>(uniform, a.hard, n, from, state(i), params.from(i), inputs.from(i),
                            a.past_cache || apart ? aside : spikes);
      if (apart) scatter(spikes, a.lane, aside, n);
      else if (a.past_cache) store_past_cache(spikes, aside, n);
    }
  }
  if (a.past_cache) past_cache_done();
}

template <Surrogate kind, class Model, class T>
void slope_row(int64_t lanes, Arrays<const T, Sizes<Model, T>::S> state,
               Arrays<const T, Sizes<Model, T>::P> params, T a, T b, T* slope) {
#pragma GCC ivdep
  for (int64_t i = 0; i < lanes; ++i) {
    const T x = Model::distance(load<typename Model::template State<T>, T>(state, i),
                                load<typename Model::template Params<T>, T>(params, i));
    slope[i] = surrogate_slope<kind>(x, a, b);
  }
}

template <class Model, class T>
void slope_any(Surrogate kind, int64_t lanes, Arrays<const T, Sizes<Model, T>::S> state,
               Arrays<const T, Sizes<Model, T>::P> params, T a, T b, T* slope) {
  switch (kind) {
#define SPIKEXLA_CASE(k) \
  case Surrogate::k:     \
    return slope_row<Surrogate::k, Model, T>(lanes, state, params, a, b, slope);
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
}

// One step backward of a block: `ds` and `dp` are updated in place, `dx` is written.
template <class Model, class T, bool kWantParams, bool kUniform, bool kHard>
void retreat(int64_t lanes, Arrays<const T, Sizes<Model, T>::S> state,
             Arrays<const T, Sizes<Model, T>::S> next, Arrays<const T, Sizes<Model, T>::P> params,
             Arrays<const T, Sizes<Model, T>::X> inputs, const T* slope, const T* next_slope,
             const T* d_spikes, Arrays<T, Sizes<Model, T>::S> ds, Arrays<T, Sizes<Model, T>::P> dp,
             Arrays<T, Sizes<Model, T>::X> dx) {
  using State = typename Model::template State<T>;
  using Params = typename Model::template Params<T>;
  using Inputs = typename Model::template Inputs<T>;
  const Params uniform = load<Params, T>(params, 0);
#pragma GCC ivdep
  for (int64_t i = 0; i < lanes; ++i) {
    const Params p = kUniform ? uniform : load<Params, T>(params, i);
    State d_state = load<State, T>(as_const(ds), i);
    Params d_params{};
    if constexpr (kWantParams) d_params = load<Params, T>(as_const(dp), i);
    Inputs d_inputs{};
    Model::template step_vjp<kWantParams>(load<State, T>(state, i), load<State, T>(next, i), p,
                                          load<Inputs, T>(inputs, i), kHard, slope[i],
                                          next_slope[i], d_spikes[i], d_state, d_params, d_inputs);
    store(d_state, ds, i);
    if constexpr (kWantParams) store(d_params, dp, i);
    store(d_inputs, dx, i);
  }
}

template <class Model, class T, class... Rest>
SPIKEXLA_HD void retreat_any(bool want_params, bool uniform, bool hard, Rest... rest) {
  if (want_params) {
    if (hard) retreat<Model, T, true, false, true>(rest...);
    else retreat<Model, T, true, false, false>(rest...);
  } else if (uniform) {
    if (hard) retreat<Model, T, false, true, true>(rest...);
    else retreat<Model, T, false, true, false>(rest...);
  } else {
    if (hard) retreat<Model, T, false, false, true>(rest...);
    else retreat<Model, T, false, false, false>(rest...);
  }
}

// Where a backward pass works: rows of `width` lanes.
template <class Model, class T>
struct Scratch {
  static constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  int64_t width;
  T *states, *slopes, *params, *inputs, *d_spikes, *unwanted;

  Scratch(T* room, int64_t width, int64_t every) : width(width) {
    const auto take = [&room, width](int64_t rows) {
      T* taken = room;
      room += rows * width;
      return taken;
    };
    states = take((every + 1) * S);  // row (k, field): the state before step k of the segment
    slopes = take(every + 1);
    params = take(P);
    inputs = take(X);
    d_spikes = take(1);
    unwanted = take(P + X + 1);
  }
  Arrays<T, S> state(int64_t k) const {
    Arrays<T, S> r;
    for (int f = 0; f < S; ++f) r.at[f] = states + (k * S + f) * width;
    return r;
  }
  T* slope(int64_t k) const { return slopes + k * width; }
  T* unwanted_param(int f) const { return unwanted + f * width; }
  T* unwanted_input(int f) const { return unwanted + (P + f) * width; }
  T* unwanted_spikes() const { return unwanted + (P + X) * width; }
};

template <class Model, class T>
void neuron_backward(const NeuronBackward<T>& a) {
  constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  const Scratch<Model, T> room(a.scratch, a.width, a.every);
  bool want_params = false;
  Arrays<T, S> ds;
  Arrays<T, P> dp;
  for (int f = 0; f < S; ++f) {
    ds.at[f] = a.d_state0[f];
    gather(ds.at[f], a.d_state1[f].at, a.d_state1[f].lane, a.lanes);
  }
  for (int f = 0; f < P; ++f) {
    want_params |= a.d_params[f] != nullptr;
    dp.at[f] = a.d_params[f] ? a.d_params[f] : room.unwanted_param(f);
    fill(dp.at[f], T(0), a.lanes);
  }
  if (a.steps == 0) return;  // there are no inputs to look at
  const bool uniform = all_uniform(a.params, P);
  const Rows<T, P> params(a.params, room.params, a.width, a.lanes);
  Rows<T, X> inputs(a.inputs, room.inputs, a.width, a.lanes);
  Rows<T, 1> d_spikes(&a.d_spikes, room.d_spikes, a.width, a.lanes);
  for (int64_t segment = (a.steps + a.every - 1) / a.every - 1; segment >= 0; --segment) {
    const int64_t first = segment * a.every;
    const int64_t n = a.steps - first < a.every ? a.steps - first : a.every;
    for (int f = 0; f < S; ++f) {
      const Stream<T>& c = a.checkpoints[f];
      gather(room.state(0).at[f], c.at + segment * c.time, c.lane, a.lanes);
    }
    for (int64_t k = 0; k < n; ++k) {
      inputs.step_to(a.inputs, first + k);
      if (first + k + 1 < a.steps) prefetch(a.inputs, X, first + k + 1, 0, a.lanes);
      advance_any<Model, T>(uniform, a.hard, a.lanes, as_const(room.state(k)), room.state(k + 1),
                            params.from(), inputs.from(), room.unwanted_spikes());
    }
    for (int64_t k = 0; k <= n; ++k)
      slope_any<Model, T>(Surrogate(a.surrogate), a.lanes, as_const(room.state(k)), params.from(),
                          a.surrogate_a, a.surrogate_b, room.slope(k));
    for (int64_t k = n - 1; k >= 0; --k) {
      const int64_t t = first + k;
      inputs.step_to(a.inputs, t);
      d_spikes.step_to(&a.d_spikes, t);
      if (t > 0) prefetch(&a.d_spikes, 1, t - 1, 0, a.lanes);
      Arrays<T, X> dx;
      for (int f = 0; f < X; ++f)
        dx.at[f] =
            a.d_inputs[f] && a.lane == 1 ? a.d_inputs[f] + t * a.row : room.unwanted_input(f);
      retreat_any<Model, T>(want_params, uniform, a.hard, a.lanes, as_const(room.state(k)),
                            as_const(room.state(k + 1)), params.from(), inputs.from(),
                            (const T*)room.slope(k), (const T*)room.slope(k + 1),
                            d_spikes.from().at[0], ds, dp, dx);
      for (int f = 0; f < X && a.lane != 1; ++f)
        if (a.d_inputs[f]) scatter(a.d_inputs[f] + t * a.row, a.lane, dx.at[f], a.lanes);
    }
  }
}

// One step of a block inside a running network: state in place, spikes packed. A `still` block does
// not move: the bits are the spikes that its state stands for.
template <class Model, class T>
void neuron_bits(const NeuronBits<T>& a) {
  constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  alignas(64) T room[(P + X + 1) * kBitsLanes];
  T* spikes = room + (P + X) * kBitsLanes;
  const bool uniform = all_uniform(a.params, P) && !a.still;
  const Rows<T, P> params(a.params, room, kBitsLanes, uniform ? 1 : a.lanes);
  Arrays<T, S> state;
  for (int k = 0; k < S; ++k) state.at[k] = a.state[k];
  if (a.still) {
    for (int64_t i = 0; i < a.lanes; ++i)
      spikes[i] = Model::spiked(load<typename Model::template State<T>, T>(as_const(state), i),
                                load<typename Model::template Params<T>, T>(params.from(), i));
  } else {
    const Rows<T, X> inputs(a.inputs, room + P * kBitsLanes, kBitsLanes, a.lanes);
    const auto first = load<typename Model::template Params<T>, T>(params.from(), 0);
    const bool easy = uniform && a.knows_G
                          ? is_easy_up_to<Model>(first, a.largest_G)
                          : all_easy<Model, T>(a.lanes, uniform, params.from(), inputs.from());
    advance_known<Model, T>(easy, uniform, a.hard, a.lanes, as_const(state), state, params.from(),
                            inputs.from(), spikes);
  }
  pack_bits(spikes, a.lanes, a.bits);
}

}  // namespace cpu

SPIKEXLA_END
