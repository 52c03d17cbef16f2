// One step of a network: a block delivers to its slice, advances it, and notes its spikes.
#pragma once

#include "fields.h"
#include "lanes.cuh"
#include "models.h"
#include "network_spikes.cuh"
#include "poisson.cuh"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr uint32_t kNobody = ~uint32_t{0};

// Adds one value a thread, those of one place in the order of the threads: at every turn, the first
// thread that waits for a place is served. Places share a row of `first` by their remainder, which
// costs turns and changes nothing.
template <class T>
__device__ void add_in_order(bool waits, uint32_t place, T value, T* g, uint32_t* first) {
  uint32_t* const at = first + place % Room<T>::kPlaces;
  while (__syncthreads_or(waits)) {
    if (waits) atomicMin(at, threadIdx.x);
    __syncthreads();
    // Who is served clears the row at once: another reads either that or a number not its own.
    if (waits && *static_cast<volatile uint32_t*>(at) == threadIdx.x) {
      g[place] += value;
      *static_cast<volatile uint32_t*>(at) = kNobody;
      waits = false;
    }
  }
}

// Counts what arrives at step t delay by delay, into room.before; returns the sum.
template <class T>
__device__ int64_t count_arrivals(const Network<T>& net, int64_t t, const Room<T>& room) {
  const int64_t newest = net.slot(t - net.first_delay);
  int64_t arrivals = 0;
  for (int64_t from = 0; from < net.delays; from += blockDim.x) {
    const int64_t d = from + threadIdx.x;
    const int64_t n = d < net.delays ? net.counts[net.earlier(newest, d)] : 0;
    const Scanned sum = scan(n, room.sums);
    if (d < net.delays) room.before[d] = arrivals + sum.until - n;
    arrivals += sum.all;
  }
  if (threadIdx.x == 0) room.before[net.delays] = arrivals;
  return arrivals;
}

// Adds what arrives at slice s in step t, in ascending order of delay and row: the run of each row
// whose source spiked so long ago. A thread finds a run; then all threads share out the events of
// all these runs, however long each one is.
template <class T>
__device__ void deliver(const Network<T>& net, int64_t s, int64_t t, T* g, const Room<T>& room) {
  const int64_t arrivals = count_arrivals(net, t, room);
  const int64_t newest = net.slot(t - net.first_delay), width = net.slices * net.delays + 1;
  for (int k = threadIdx.x; k < Room<T>::kPlaces; k += blockDim.x) room.first[k] = kNobody;
  __syncthreads();
  for (int64_t from = 0; from < arrivals; from += blockDim.x) {
    const int64_t i = from + threadIdx.x;
    int64_t length = 0;
    if (i < arrivals) {
      const int64_t d = first_above(room.before, net.delays + 1, i) - 1;
      const int64_t row = net.arriving[net.earlier(newest, d) * net.rows + i - room.before[d]];
      const uint32_t* const run = net.runs + row * width + s * net.delays + d;
      const int64_t start = __ldg(net.starts + row);
      const int64_t begin = start + __ldg(run), end = start + __ldg(run + 1);
      // Nobody hears of a malformed row: what would lie out of bounds is left out.
      if (begin >= 0 && begin <= end && end <= net.total) length = end - begin;
      room.rows[threadIdx.x] = int32_t(row);
      room.begins[threadIdx.x] = begin;
    }
    const Scanned events = scan(length, room.sums);
    room.ends[threadIdx.x] = events.until;
    __syncthreads();
    for (int64_t first = 0; first < events.all; first += blockDim.x) {
      const int64_t e = first + threadIdx.x;
      const bool exists = e < events.all;
      uint32_t place = 0;
      T value = T(0);
      if (exists) {
        const int64_t k = first_above(room.ends, blockDim.x, e);
        const int64_t j = room.begins[k] + e - (k > 0 ? room.ends[k - 1] : 0);
        place = net.narrow ? __ldg(net.narrow + j) : __ldg(net.wide + j);
        value = __ldg(net.weights + (net.by_synapse ? j : int64_t{room.rows[k]}));
      }
      add_in_order(exists, place, value, g, room.first);
    }
  }
}

// What a network gives: places among a model's inputs, or -1; all others are 0.
template <class Model>
inline constexpr int kTakesI = place_of("I", Model::kInputs);
template <class Model>
inline constexpr int kTakesG = place_of("G", Model::kInputs);

// Advances neurons [low, high) of one population, a word of spikes a warp. Port k of neuron i reads
// g[k * (high - low) + i - low] and leaves it for the next step in `to`; the last step leaves g as
// a step-by-step run would, in the results.
template <class Model, class T>
__device__ void advance(const Population<T>& p, int64_t low, int64_t high, int64_t t, bool last,
                        const T* g, T* to) {
  using State = typename Model::template State<T>;
  using Params = typename Model::template Params<T>;
  using Inputs = typename Model::template Inputs<T>;
  constexpr int S = size_of<State, T>, P = size_of<Params, T>, X = size_of<Inputs, T>;
  const int lane = threadIdx.x % kWarp;
  for (int64_t first = low + threadIdx.x - lane; first < high; first += blockDim.x) {
    const int64_t i = first + lane;
    bool fired = false;
    if (i < high) {
      T I = p.drive.of(i), G = T(0);
      for (int64_t k = 0; k < p.num_ports; ++k) {
        const Port<T>& port = p.ports[k];
        const int64_t at = k * (high - low) + i - low;
        const T now = g[at];
        I += now * port.value.of(i);
        if (port.conductance) G += now;
        if (last) port.g[i] = now;
        else to[at] = now * port.decay.of(i);
      }
      T inputs[X] = {}, params[P], fields[S];
      if constexpr (kTakesI<Model> >= 0) inputs[kTakesI<Model>] = I;
      if constexpr (kTakesG<Model> >= 0) inputs[kTakesG<Model>] = G;
#pragma unroll
      for (int k = 0; k < P; ++k) params[k] = p.params[k].of(i);
#pragma unroll
      for (int k = 0; k < S; ++k) fields[k] = p.state[k][i];
      State state = pack<State>(fields);
      fired = Model::step(state, pack<Params>(params), pack<Inputs>(inputs), p.hard) != T(0);
      memcpy(fields, &state, sizeof state);
#pragma unroll
      for (int k = 0; k < S; ++k) p.state[k][i] = fields[k];
    }
    const uint32_t word = __ballot_sync(kAll, fired);
    if (lane == 0) {
      p.fired[first / 32] = word;
      if (p.raster) p.raster[t * p.words + first / 32] = word;
    }
  }
}

template <class T, class... M>
__device__ void advance_any(TypeList<M...>, const Population<T>& p, int64_t low, int64_t high,
                            int64_t t, bool last, const T* g, T* to) {
  int64_t k = 0;
  ((k++ == p.model ? advance<M>(p, low, high, t, last, g, to) : void()), ...);
}

// Brings the slice's g to where this block adds. It decays once before each step's spikes arrive;
// later steps did it at the end of the one before.
template <class T>
__device__ T* take_inputs(const Network<T>& net, int64_t s, int64_t t, const Room<T>& room) {
  T* const kept = net.inputs + net.bases[s];
  T* const g = net.inputs_shared ? room.inputs : kept;
  if (t > 0) {
    const int64_t n = net.bases[s + 1] - net.bases[s];
    for (int64_t i = threadIdx.x; g != kept && i < n; i += blockDim.x) g[i] = kept[i];
    return g;
  }
  T* to = g;
  for (int64_t k = 0; k < net.num_populations; ++k) {
    const Population<T>& p = net.populations[k];
    const int64_t low = p.edges[s], lanes = p.edges[s + 1] - low;
    for (int64_t j = 0; j < p.num_ports; ++j, to += lanes)
      for (int64_t i = threadIdx.x; i < lanes; i += blockDim.x)
        to[i] = p.ports[j].g[low + i] * p.ports[j].decay.of(low + i);
  }
  return g;
}

// Whether this block is the last of the launch to come here; then it sees what all others wrote.
__device__ inline bool comes_last(unsigned* ended, int64_t* room) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) room[0] = atomicAdd(ended, 1u) + 1 == gridDim.x;
  __syncthreads();
  __threadfence();
  const bool last = room[0] != 0;
  if (last && threadIdx.x == 0) *ended = 0;
  return last;
}

template <class T>
__global__ void __launch_bounds__(kNetworkThreads)
    network_step(const __grid_constant__ Network<T> net, const int64_t t) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Room<T> room(shared, net);
  const int64_t s = blockIdx.x;
  T* const g = take_inputs(net, s, t, room);
  deliver(net, s, t, g, room);  // begins with a meeting of the block
  T* its = g;
  for (int64_t k = 0; k < net.num_populations; ++k) {
    const Population<T>& p = net.populations[k];
    const int64_t low = p.edges[s], lanes = p.edges[s + 1] - low;
    for (int64_t j = 0; j < p.num_poissons; ++j)
      draw(p.poissons[j], low, low + lanes, its + p.poissons[j].port * lanes);
    its += p.num_ports * lanes;
  }
  __syncthreads();
  its = g;
  T* to = net.inputs + net.bases[s];
  for (int64_t k = 0; k < net.num_populations; ++k) {
    const Population<T>& p = net.populations[k];
    const int64_t low = p.edges[s], high = p.edges[s + 1], n = p.num_ports * (high - low);
    advance_any(Models{}, p, low, high, t, t + 1 == net.steps, its, to);
    its += n;
    to += n;
  }
  if (comes_last(net.ended, room.sums))
    list_rows(net, net.slot(t + 1), room.sums, [&](int64_t p) { return net.populations[p].fired; });
}

// Notes the spikes that the states stand for, as those of the step before the first.
template <class Model, class T>
__device__ void note_spiked(const Population<T>& p, int64_t low, int64_t high) {
  using State = typename Model::template State<T>;
  using Params = typename Model::template Params<T>;
  constexpr int S = size_of<State, T>, P = size_of<Params, T>;
  const int lane = threadIdx.x % kWarp;
  for (int64_t first = low + threadIdx.x - lane; first < high; first += blockDim.x) {
    const int64_t i = first + lane;
    bool fired = false;
    if (i < high) {
      T fields[S], params[P];
#pragma unroll
      for (int k = 0; k < S; ++k) fields[k] = p.state[k][i];
#pragma unroll
      for (int k = 0; k < P; ++k) params[k] = p.params[k].of(i);
      fired = Model::spiked(pack<State>(fields), pack<Params>(params)) != T(0);
    }
    const uint32_t word = __ballot_sync(kAll, fired);
    if (lane == 0) p.fired[first / 32] = word;
  }
}

template <class T, class... M>
__device__ void note_spiked_any(TypeList<M...>, const Population<T>& p, int64_t low, int64_t high) {
  int64_t k = 0;
  ((k++ == p.model ? note_spiked<M>(p, low, high) : void()), ...);
}

template <class T>
__global__ void __launch_bounds__(kNetworkThreads)
    network_begin(const __grid_constant__ Network<T> net) {
  for (int64_t k = 0; k < net.num_populations; ++k) {
    const Population<T>& p = net.populations[k];
    note_spiked_any(Models{}, p, p.edges[blockIdx.x], p.edges[blockIdx.x + 1]);
  }
}

}  // namespace cuda

SPIKEXLA_END
