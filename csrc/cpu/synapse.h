// Exponential synapses of one block of a running network:
//   current      I += g value                           (CUBA; value: the scale)
//   conductance  I += g value,  G += g                  (COBA; value: the reversal potential)
// and, between two steps, g <- g decay with decay = exp(-dt / tau).
#pragma once

#include "cpu/table.h"
#include "math.h"

SPIKEXLA_BEGIN

namespace cpu {
using abi::SynapseBlock;

// A few ports with one decay and one value each, all of one kind: in one pass.
template <class T, int kPorts, bool kConductance, bool kEach>
void drive_alike(SynapseBlock<T>& a) {
  T *g[kPorts], decay[kPorts], value[kPorts];
  for (int k = 0; k < kPorts; ++k) {
    g[k] = a.g[k];
    value[k] = *a.value[k].at;
    decay[k] = a.decays ? *a.decay[k].at : T(1);
  }
  T *to_I = a.I, *to_G = a.G;
  const T* current = a.current.at;
  const T current0 = *current;
  using Bits = typename ExpConstants<T>::Int;
  Bits largest = 0;  // as bits, which ascend with the number: there is an instruction for that
#pragma GCC ivdep
  for (int64_t i = 0; i < a.lanes; ++i) {
    T I = kEach ? current[i] : current0, G = T(0);
    for (int k = 0; k < kPorts; ++k) {
      const T now = g[k][i];
      I += now * value[k];
      G += now;
      g[k][i] = now * decay[k];
    }
    to_I[i] = I;
    if (kConductance) {
      to_G[i] = G;
      const Bits size = bits<Bits>(G < T(0) ? -G : G);
      largest = size > largest ? size : largest;
    }
  }
  a.knows_G = true;
  a.largest_G = bits<T>(largest);
}

template <class T, bool kConductance>
bool drive_fast(SynapseBlock<T>& a) {
  const bool each = a.current.lane != 0;
  switch (a.ports) {
    case 1:
      return (each ? drive_alike<T, 1, kConductance, true>(a)
                   : drive_alike<T, 1, kConductance, false>(a)),
             true;
    case 2:
      return (each ? drive_alike<T, 2, kConductance, true>(a)
                   : drive_alike<T, 2, kConductance, false>(a)),
             true;
    default:
      return false;
  }
}

template <class T>
void synapse_drive(SynapseBlock<T>& a) {
  a.knows_G = false;
  a.largest_G = T(0);
  int conductances = 0;
  bool uniform = true;
  for (int k = 0; k < a.ports; ++k) {
    conductances += a.conductance[k];
    uniform = uniform && a.decay[k].lane == 0 && a.value[k].lane == 0;
  }
  if (uniform && conductances == 0 && drive_fast<T, false>(a)) return;
  if (uniform && conductances == a.ports && drive_fast<T, true>(a)) return;
  for (int64_t i = 0; i < a.lanes; ++i) a.I[i] = a.current.at[i * a.current.lane];
  for (int64_t i = 0; i < a.lanes; ++i) a.G[i] = T(0);
  for (int k = 0; k < a.ports; ++k) {
    for (int64_t i = 0; i < a.lanes; ++i) {
      const T now = a.g[k][i];
      a.I[i] += now * a.value[k].at[i * a.value[k].lane];
      if (a.conductance[k]) a.G[i] += now;
      if (a.decays) a.g[k][i] = now * a.decay[k].at[i * a.decay[k].lane];
    }
  }
}

template <class T>
void synapse_decay(SynapseBlock<T>& a) {
  for (int k = 0; k < a.ports; ++k)
    for (int64_t i = 0; i < a.lanes; ++i) a.g[k][i] *= a.decay[k].at[i * a.decay[k].lane];
}

}  // namespace cpu

SPIKEXLA_END
