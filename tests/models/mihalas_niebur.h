// The generalised leaky neuron of Mihalas & Niebur (2009), forward Euler, with a conductance. One
// step of dt:
//
//   V0 = V + (V_r - V) s             s = [V >= V_th]: the spike of the last step
//   T0 = V_th + T_j s                the threshold is a state
//   A0 = A + A_j s, B0 = B + B_j s   currents that follow a spike
//   V1 = V0 + gain (I + A0 + B0 - G V0 - g (V0 - E))         gain = dt / C
//   T1 = T0 + dt (a (V0 - E) - b (T0 - T_inf))
//   A1 = f A0, B1 = h B0
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

struct MihalasNiebur {
  static constexpr const char* kName = "mihalas_niebur";
  static constexpr const char* kState = "V V_th A B";
  static constexpr const char* kParams = "gain g E V_r T_j A_j B_j dt a b T_inf f h";
  static constexpr const char* kInputs = "G I";
  template <class T>
  struct State {
    T V, V_th, A, B;
  };
  template <class T>
  struct Params {
    T gain, g, E, V_r, T_j, A_j, B_j, dt, a, b, T_inf, f, h;
  };
  template <class T>
  struct Inputs {
    T G, I;
  };

  template <class T>
  SPIKEXLA_HD static T distance(const State<T>& s, const Params<T>&) {
    return s.V - s.V_th;
  }

  template <class T>
  SPIKEXLA_HD static T spiked(const State<T>& s, const Params<T>& p) {
    return distance(s, p) >= T(0) ? T(1) : T(0);
  }

  template <class T>
  SPIKEXLA_HD static T step(State<T>& s, const Params<T>& p, const Inputs<T>& in, bool) {
    const T spike = spiked(s, p);
    const T V0 = s.V + (p.V_r - s.V) * spike, T0 = s.V_th + p.T_j * spike;
    const T A0 = s.A + p.A_j * spike, B0 = s.B + p.B_j * spike;
    s.V = V0 + p.gain * (in.I + A0 + B0 - in.G * V0 - p.g * (V0 - p.E));
    s.V_th = T0 + p.dt * (p.a * (V0 - p.E) - p.b * (T0 - p.T_inf));
    s.A = p.f * A0;
    s.B = p.h * B0;
    return spiked(s, p);
  }

  template <bool kWantParams, class T>
  SPIKEXLA_HD static void step_vjp(const State<T>& s, const State<T>&, const Params<T>& p,
                                   const Inputs<T>& in, bool, T slope, T next_slope, T d_spike,
                                   State<T>& ds, Params<T>& dp, Inputs<T>& din) {
    const T spike = spiked(s, p);
    const T V0 = s.V + (p.V_r - s.V) * spike, T0 = s.V_th + p.T_j * spike;
    const T A0 = s.A + p.A_j * spike, B0 = s.B + p.B_j * spike;
    const T d_next = d_spike * next_slope;
    const T dV1 = ds.V + d_next, dT1 = ds.V_th - d_next, dA1 = ds.A, dB1 = ds.B;
    const T dA0 = p.f * dA1 + p.gain * dV1, dB0 = p.h * dB1 + p.gain * dV1;
    const T dV0 = dV1 - p.gain * (in.G + p.g) * dV1 + dT1 * p.dt * p.a;
    const T dT0 = dT1 - dT1 * p.dt * p.b;
    const T d_last = ((p.V_r - s.V) * dV0 + p.T_j * dT0 + p.A_j * dA0 + p.B_j * dB0) * slope;
    din.I = p.gain * dV1;
    din.G = -p.gain * V0 * dV1;
    ds = {dV0 - spike * dV0 + d_last, dT0 - d_last, dA0, dB0};
    if constexpr (kWantParams) {
      dp.gain += dV1 * (in.I + A0 + B0 - in.G * V0 - p.g * (V0 - p.E));
      dp.g -= p.gain * dV1 * (V0 - p.E);
      dp.E += p.gain * p.g * dV1 - dT1 * p.dt * p.a;
      dp.V_r += spike * dV0;
      dp.T_j += spike * dT0;
      dp.A_j += spike * dA0;
      dp.B_j += spike * dB0;
      dp.dt += dT1 * (p.a * (V0 - p.E) - p.b * (T0 - p.T_inf));
      dp.a += dT1 * p.dt * (V0 - p.E);
      dp.b -= dT1 * p.dt * (T0 - p.T_inf);
      dp.T_inf += dT1 * p.dt * p.b;
      dp.f += dA1 * A0;
      dp.h += dB1 * B0;
    }
  }
};

SPIKEXLA_END
