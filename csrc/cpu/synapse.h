// Exponential synapses of one block of a running network:
//   current      I += g value                           (CUBA; value: the scale)
//   conductance  I += g value,  G += g                  (COBA; value: the reversal potential)
// and, between two steps, g <- g decay with decay = exp(-dt / tau).
#pragma once

#include "cpu/table.h"
#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {
using abi::SynapseBlock;

template <class T>
void synapse_start(int64_t lanes, const abi::Stream<T>& drive, T* I, T* G) {
  if (drive.lane == 0) {
    const T value = *drive.at;
    for (int64_t i = 0; i < lanes; ++i) I[i] = value;
  } else {
    for (int64_t i = 0; i < lanes; ++i) I[i] = drive.at[i];
  }
  for (int64_t i = 0; i < lanes; ++i) G[i] = T(0);
}

template <class T, bool kConductance, bool kDecays, bool kUniform>
void drive_block(const SynapseBlock<T>& a) {
  T *g = a.g, *I = a.I, *G = a.G;
  const T decay0 = *a.decay.at, value0 = *a.value.at;
  const T *decays = a.decay.at, *values = a.value.at;
  const int64_t decay_lane = a.decay.lane, value_lane = a.value.lane;
#pragma GCC ivdep
  for (int64_t i = 0; i < a.lanes; ++i) {
    const T now = g[i];
    I[i] += now * (kUniform ? value0 : values[i * value_lane]);
    if (kConductance) G[i] += now;
    if (kDecays) g[i] = now * (kUniform ? decay0 : decays[i * decay_lane]);
  }
}

template <class T>
void synapse_drive(const SynapseBlock<T>& a) {
  const bool uniform = a.decay.lane == 0 && a.value.lane == 0;
  const int which = (a.conductance ? 4 : 0) + (a.decays ? 2 : 0) + (uniform ? 1 : 0);
  switch (which) {
    case 0:
      return drive_block<T, false, false, false>(a);
    case 1:
      return drive_block<T, false, false, true>(a);
    case 2:
      return drive_block<T, false, true, false>(a);
    case 3:
      return drive_block<T, false, true, true>(a);
    case 4:
      return drive_block<T, true, false, false>(a);
    case 5:
      return drive_block<T, true, false, true>(a);
    case 6:
      return drive_block<T, true, true, false>(a);
    case 7:
      return drive_block<T, true, true, true>(a);
  }
}

template <class T>
void synapse_decay(const SynapseBlock<T>& a) {
#pragma GCC ivdep
  for (int64_t i = 0; i < a.lanes; ++i) a.g[i] *= a.decay.at[i * a.decay.lane];
}

}  // namespace cpu

SPIKEXLA_END
