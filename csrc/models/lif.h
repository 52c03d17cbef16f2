// Leaky integrate-and-fire, with or without a refractory period, driven by a current and, in the
// `_coba` members, by a conductance. One step of dt (exponential Euler, Rotter & Diesmann 1999):
//
//   V0 = V - (V_th - V_reset) s      soft reset     s = [V >= V_th]: the spike of the last step
//   V0 = V - (V - V_reset) s         hard reset     is reset at the start of this one
//   V1 = V0 + gain (V_rest + R I - V0) + jump                            gain = 1 - exp(-dt / tau)
//   V1 = V0 + rate (V_rest - V0 + R (I - G V0)) (1 - e^-z) / z + jump    rate = dt / tau  (_coba)
//                                                                        z = rate (1 + R G)
//   V  = V0 while refractory, else V1
//
// The spike of a step is [V >= V_th] of its new V; its surrogate slope is taken at
// x = (V - V_th) scale, scale = 1 / (V_th - V_reset). This is brainpy.state's LIF and LIFRef.
#pragma once

#include "math.h"

SPIKEXLA_BEGIN

template <class T, bool kRefractory>
struct LifState {
  T V;
};
template <class T>
struct LifState<T, true> {
  T V, refractory;  // refractory: steps for which V is still held
};

template <class T, bool kRefractory>
struct LifParams {
  T rate, R, V_rest, V_th, V_reset, scale;  // rate is the gain where there is no conductance
};
template <class T>
struct LifParams<T, true> {
  T rate, R, V_rest, V_th, V_reset, scale, hold;  // hold: steps a spike holds V for
};

template <class T, bool kConductance>
struct LifInputs {
  T I, jump;
};
template <class T>
struct LifInputs<T, true> {
  T I, G, jump;
};

template <bool kRefractory, bool kConductance>
struct LifFamily {
  static constexpr const char* kName = kRefractory ? (kConductance ? "lif_ref_coba" : "lif_ref")
                                                   : (kConductance ? "lif_coba" : "lif");
  static constexpr const char* kState = kRefractory ? "V refractory" : "V";
  static constexpr const char* kParams =
      kRefractory ? "rate R V_rest V_th V_reset scale hold" : "rate R V_rest V_th V_reset scale";
  static constexpr bool kAlwaysEasy = !kConductance;
  static constexpr const char* kInputs = kConductance ? "I G jump" : "I jump";
  template <class T>
  using State = LifState<T, kRefractory>;
  template <class T>
  using Params = LifParams<T, kRefractory>;
  template <class T>
  using Inputs = LifInputs<T, kConductance>;

  // The argument of the surrogate.
  template <class T>
  SPIKEXLA_HD static T distance(const State<T>& s, const Params<T>& p) {
    return (s.V - p.V_th) * p.scale;
  }

  // The spike that a state stands for: 0 or 1.
  template <class T>
  SPIKEXLA_HD static T spiked(const State<T>& s, const Params<T>& p) {
    return s.V >= p.V_th ? T(1) : T(0);
  }

  // Whether the cheap form of `step` (kEasy) may be taken: it gives the same bits.
  template <class T>
  SPIKEXLA_HD static bool is_easy(const Params<T>& p, const Inputs<T>& in) {
    if constexpr (kConductance) return is_short(p.rate * (T(1) + p.R * in.G));
    else return true;
  }

  // Whether it may for every conductance of at most this size.
  template <class T>
  SPIKEXLA_HD static bool is_easy_up_to(const Params<T>& p, T largest_G) {
    if constexpr (kConductance)
      return is_easy(p, {T(0), largest_G, T(0)}) && is_easy(p, {T(0), -largest_G, T(0)});
    else return true;
  }

  // One neuron, one step. Returns the spike of the new state.
  template <bool kEasy = false, class T>
  SPIKEXLA_HD static T step(State<T>& s, const Params<T>& p, const Inputs<T>& in, bool hard) {
    const T V0 = s.V - fall(s.V, p, hard) * spiked(s, p);
    T V1;
    if constexpr (kConductance) {
      const T f = p.rate * (p.V_rest - V0 + p.R * (in.I - in.G * V0));
      V1 = V0 + f * decay_ratio<kEasy>(p.rate * (T(1) + p.R * in.G)) + in.jump;
    } else {
      V1 = V0 + p.rate * (p.V_rest + p.R * in.I - V0) + in.jump;
    }
    if constexpr (kRefractory) {
      s.V = s.refractory > T(0) ? V0 : V1;
      const T left = s.refractory > T(1) ? s.refractory - T(1) : T(0);
      s.refractory = s.V >= p.V_th ? p.hold : left;
    } else {
      s.V = V1;
    }
    return spiked(s, p);
  }

  // Transpose of `step` from state `s` to `next`. `ds` enters as the cotangent of `next` and leaves
  // as that of `s`; `din` is set; `dp` accumulates. `slope`, `next_slope` are the surrogate's
  // slopes at the two states; the factor `scale` is applied here.
  template <bool kWantParams, class T>
  SPIKEXLA_HD static void step_vjp(const State<T>& s, const State<T>& next, const Params<T>& p,
                                   const Inputs<T>& in, bool hard, T slope, T next_slope, T d_spike,
                                   State<T>& ds, Params<T>& dp, Inputs<T>& din) {
    const T spike = spiked(s, p);
    const T fallen = fall(s.V, p, hard);
    const T V0 = s.V - fallen * spike;
    const T d_next = d_spike * next_slope;
    const T dV = ds.V + d_next * p.scale;
    bool held = false;
    if constexpr (kRefractory) held = s.refractory > T(0);
    const T dV1 = held ? T(0) : dV;
    T dV0 = held ? dV : T(0);
    if constexpr (kConductance) {
      const T z = p.rate * (T(1) + p.R * in.G);
      const T phi = decay_ratio(z), phi_slope = decay_ratio_slope(z, phi);
      const T push = p.V_rest - V0 + p.R * (in.I - in.G * V0);
      const T df = dV1 * phi * p.rate;
      const T dz = dV1 * p.rate * push * phi_slope;
      dV0 += dV1 - df * (T(1) + p.R * in.G);
      din.I = df * p.R;
      din.G = dz * p.rate * p.R - df * p.R * V0;
      if constexpr (kWantParams) {
        dp.rate += dV1 * phi * push + dz * (T(1) + p.R * in.G);
        dp.R += df * (in.I - in.G * V0) + dz * p.rate * in.G;
        dp.V_rest += df;
      }
    } else {
      const T df = dV1 * p.rate;
      dV0 += dV1 - df;
      din.I = df * p.R;
      if constexpr (kWantParams) {
        dp.rate += dV1 * (p.V_rest + p.R * in.I - V0);
        dp.R += df * in.I;
        dp.V_rest += df;
      }
    }
    din.jump = dV1;
    const T d_fired = -fallen * dV0 * slope;
    ds.V = dV0 + d_fired * p.scale;
    if constexpr (kRefractory) ds.refractory = T(0);  // a count of steps carries no gradient
    if constexpr (kWantParams) {
      dp.scale += d_next * (next.V - p.V_th) + d_fired * (s.V - p.V_th);
      dp.V_th -= (d_next + d_fired) * p.scale + (hard ? T(0) : spike * dV0);
      dp.V_reset += spike * dV0;
    }
  }

 private:
  // What a spike takes off V. The hard reset's V is a constant to the gradient, as in
  // brainpy.state.
  template <class T>
  SPIKEXLA_HD static T fall(T V, const Params<T>& p, bool hard) {
    return (hard ? V : p.V_th) - p.V_reset;
  }
};

using Lif = LifFamily<false, false>;
using LifRef = LifFamily<true, false>;
using LifCoba = LifFamily<false, true>;
using LifRefCoba = LifFamily<true, true>;

SPIKEXLA_END
