// The time loop of any neuron model on the CPU, for one block of lanes.
//
// Lanes are the inner loop, so that the compiler vectorises over neurons; a block's state is small
// enough to stay in L1 for the whole run, so memory sees only the inputs and the spikes.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/easy.h"
#include "cpu/fresh_pages.h"
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

template <class T>
inline void fill(T* to, T value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = value;
}

template <class T>
inline void copy(T* to, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// Rows of N operands at one time step; a repeated value is spread over `room` (N x block) first.
template <class T, int N, int64_t kBlock>
class Rows {
 public:
  // `lanes` of 1 is enough for operands of which only lane 0 is read.
  SPIKEXLA_HD Rows(const Stream<T>* streams, T* room, int64_t lanes)
      : room_(room), spread_(lanes < kBlock ? lanes : kBlock) {
    for (int k = 0; k < N; ++k) seek(streams, k, 0);
  }
  SPIKEXLA_HD void step_to(const Stream<T>* streams, int64_t t) {
    for (int k = 0; k < N; ++k)
      if (streams[k].time != 0) seek(streams, k, t);
  }
  // The rows from lane `i` on, of which the next `kBlock` lanes may be read.
  SPIKEXLA_HD Arrays<const T, N> from(int64_t i = 0) const {
    Arrays<const T, N> rows;
    for (int k = 0; k < N; ++k) rows.at[k] = at_[k] + (repeats_[k] ? 0 : i);
    return rows;
  }

 private:
  SPIKEXLA_HD void seek(const Stream<T>* streams, int k, int64_t t) {
    at_[k] = streams[k].at + t * streams[k].time;
    repeats_[k] = streams[k].lane == 0;
    if (repeats_[k]) {
      fill(room_ + k * kBlock, *at_[k], spread_);
      at_[k] = room_ + k * kBlock;
    }
  }

  T* room_;
  int64_t spread_;
  const T* at_[N];
  bool repeats_[N];
};

// Fetches lanes [i, i + n) of step t ahead: the processor's own prefetcher stops at every page.
template <class T>
SPIKEXLA_HD void prefetch(const Stream<T>* streams, int count, int64_t t, int64_t i, int64_t n) {
  for (int k = 0; k < count; ++k)
    for (int64_t j = i; streams[k].lane * streams[k].time != 0 && j < i + n; j += 64 / sizeof(T))
      __builtin_prefetch(streams[k].at + t * streams[k].time + j);
}

template <class T>
inline bool all_uniform(const Stream<T>* streams, int n) {
  for (int k = 0; k < n; ++k)
    if (streams[k].lane != 0) return false;
  return true;
}

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
  constexpr int64_t kPiece = 512;
  alignas(64) T room[(S + P + X + 1) * kPiece];
  T* const unread = room + (S + P + X) * kPiece;  // spikes on their way past the caches
  const bool uniform = all_uniform(a.params, P);
  const Rows<T, S, kPiece> start(a.state0, room, a.lanes);
  const Rows<T, P, kPiece> params(a.params, room + S * kPiece, uniform ? 1 : a.lanes);
  Rows<T, X, kPiece> inputs(a.inputs, room + (S + P) * kPiece, a.lanes);
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
          copy(a.checkpoints[k] + t / a.every * a.checkpoint_row + i, from.at[k], n);
      if (a.past_cache) prefetch(a.inputs, X, t, i + kPiece, kPiece);
      T* const spikes = a.spikes + t * a.row + i;
      advance_any<Model, T>(uniform, a.hard, n, from, state(i), params.from(i), inputs.from(i),
                            a.past_cache ? unread : spikes);
      if (a.past_cache) store_past_cache(spikes, unread, n);
    }
  }
  if (a.past_cache) past_cache_done();
  for (int64_t i = 0; a.steps == 0 && i < a.lanes; i += kPiece)
    for (int k = 0; k < S; ++k)
      copy(state(i).at[k], start.from(i).at[k], a.lanes - i < kPiece ? a.lanes - i : kPiece);
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

template <class Model, class T>
void neuron_backward(const NeuronBackward<T>& a) {
  constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  constexpr int64_t B = kBackwardLanes;
  T* room = a.scratch;
  const auto take = [&room](int64_t rows) {
    T* taken = room;
    room += rows * B;
    return taken;
  };
  T* states = take((a.every + 1) * S);  // row (k, field): the state before step k of the segment
  T* slopes = take(a.every + 1);
  const bool uniform = all_uniform(a.params, P);
  const Rows<T, P, B> params(a.params, take(P), a.lanes);
  Rows<T, X, B> inputs(a.inputs, take(X), a.lanes);
  Rows<T, 1, B> d_spikes(&a.d_spikes, take(1), a.lanes);
  T* unwanted = take(P + X + 1);
  const auto row = [&](int64_t k) {
    Arrays<T, S> r;
    for (int f = 0; f < S; ++f) r.at[f] = states + (k * S + f) * B;
    return r;
  };
  bool want_params = false;
  Arrays<T, S> ds;
  Arrays<T, P> dp;
  for (int f = 0; f < S; ++f) {
    ds.at[f] = a.d_state0[f];
    if (a.d_state1[f].lane == 0) fill(ds.at[f], *a.d_state1[f].at, a.lanes);
    else copy(ds.at[f], a.d_state1[f].at, a.lanes);
  }
  for (int f = 0; f < P; ++f) {
    want_params |= a.d_params[f] != nullptr;
    dp.at[f] = a.d_params[f] ? a.d_params[f] : unwanted + f * B;
    fill(dp.at[f], T(0), a.lanes);
  }
  for (int64_t segment = (a.steps + a.every - 1) / a.every - 1; segment >= 0; --segment) {
    const int64_t first = segment * a.every;
    const int64_t n = a.steps - first < a.every ? a.steps - first : a.every;
    for (int f = 0; f < S; ++f) {
      const Stream<T>& c = a.checkpoints[f];
      if (c.lane == 0) fill(row(0).at[f], c.at[segment * c.time], a.lanes);
      else copy(row(0).at[f], c.at + segment * c.time, a.lanes);
    }
    for (int64_t k = 0; k < n; ++k) {
      inputs.step_to(a.inputs, first + k);
      if (first + k + 1 < a.steps) prefetch(a.inputs, X, first + k + 1, 0, a.lanes);
      advance_any<Model, T>(uniform, a.hard, a.lanes, as_const(row(k)), row(k + 1), params.from(),
                            inputs.from(), unwanted + (P + X) * B);
    }
    for (int64_t k = 0; k <= n; ++k)
      slope_any<Model, T>(Surrogate(a.surrogate), a.lanes, as_const(row(k)), params.from(),
                          a.surrogate_a, a.surrogate_b, slopes + k * B);
    for (int64_t k = n - 1; k >= 0; --k) {
      const int64_t t = first + k;
      inputs.step_to(a.inputs, t);
      d_spikes.step_to(&a.d_spikes, t);
      if (t > 0) prefetch(&a.d_spikes, 1, t - 1, 0, a.lanes);
      Arrays<T, X> dx;
      for (int f = 0; f < X; ++f)
        dx.at[f] = a.d_inputs[f] ? a.d_inputs[f] + t * a.row : unwanted + (P + f) * B;
      retreat_any<Model, T>(want_params, uniform, a.hard, a.lanes, as_const(row(k)),
                            as_const(row(k + 1)), params.from(), inputs.from(),
                            (const T*)(slopes + k * B), (const T*)(slopes + (k + 1) * B),
                            d_spikes.from().at[0], ds, dp, dx);
    }
  }
}

// 32 spikes to a word.
template <class T>
SPIKEXLA_HD uint32_t pack_word(const T* spikes, int64_t n) {
  uint32_t word = 0;
  for (int64_t i = 0; i < n; ++i) word |= uint32_t(spikes[i] != T(0)) << i;
  return word;
}

#if defined(__AVX512F__)
SPIKEXLA_HD uint32_t pack_full_word(const float* s) {
  const __m512 zero = _mm512_setzero_ps();
  const uint32_t low = _mm512_cmp_ps_mask(_mm512_loadu_ps(s), zero, _CMP_NEQ_OQ);
  return low | uint32_t(_mm512_cmp_ps_mask(_mm512_loadu_ps(s + 16), zero, _CMP_NEQ_OQ)) << 16;
}
#elif defined(__SSE2__)
SPIKEXLA_HD uint32_t pack_full_word(const float* s) {
  uint32_t word = 0;
  for (int k = 0; k < 8; ++k)
    word |= uint32_t(_mm_movemask_ps(_mm_cmpneq_ps(_mm_loadu_ps(s + 4 * k), _mm_setzero_ps())))
            << (4 * k);
  return word;
}
#else
SPIKEXLA_HD uint32_t pack_full_word(const float* s) { return pack_word(s, 32); }
#endif
SPIKEXLA_HD uint32_t pack_full_word(const double* s) { return pack_word(s, 32); }

template <class T>
void pack_bits(const T* spikes, int64_t lanes, uint32_t* bits) {
  for (int64_t w = 0; w < lanes / 32; ++w) bits[w] = pack_full_word(spikes + w * 32);
  if (lanes % 32 != 0) bits[lanes / 32] = pack_word(spikes + lanes / 32 * 32, lanes % 32);
}

// One step of a block inside a running network: state in place, spikes packed. A `still` block does
// not move: the bits are the spikes that its state stands for.
template <class Model, class T>
void neuron_bits(const NeuronBits<T>& a) {
  constexpr int S = Sizes<Model, T>::S, P = Sizes<Model, T>::P, X = Sizes<Model, T>::X;
  alignas(64) T room[(P + X + 1) * kBitsLanes];
  T* spikes = room + (P + X) * kBitsLanes;
  const bool uniform = all_uniform(a.params, P) && !a.still;
  const Rows<T, P, kBitsLanes> params(a.params, room, uniform ? 1 : a.lanes);
  Arrays<T, S> state;
  for (int k = 0; k < S; ++k) state.at[k] = a.state[k];
  if (a.still) {
    for (int64_t i = 0; i < a.lanes; ++i)
      spikes[i] = Model::spiked(load<typename Model::template State<T>, T>(as_const(state), i),
                                load<typename Model::template Params<T>, T>(params.from(), i));
  } else {
    const Rows<T, X, kBitsLanes> inputs(a.inputs, room + P * kBitsLanes, a.lanes);
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
