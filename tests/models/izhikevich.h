// Izhikevich's neuron (2003), forward Euler. One step of dt:
//
//   V0 = V + (c - V) s,  u0 = u + d s          s = [V >= V_th]: the spike of the last step
//   V1 = V0 + dt (0.04 V0^2 + 5 V0 + 140 - u0 + I) + jump
//   u1 = u0 + dt a (b V0 - u0)
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

struct Izhikevich {
  static constexpr const char* kName = "izhikevich";
  static constexpr const char* kState = "V u";
  static constexpr const char* kParams = "dt a b c d V_th";
  static constexpr const char* kInputs = "jump I";
  template <class T>
  struct State {
    T V, u;
  };
  template <class T>
  struct Params {
    T dt, a, b, c, d, V_th;
  };
  template <class T>
  struct Inputs {
    T jump, I;
  };

  template <class T>
  SPIKEXLA_HD static T distance(const State<T>& s, const Params<T>& p) {
    return s.V - p.V_th;
  }

  template <class T>
  SPIKEXLA_HD static T spiked(const State<T>& s, const Params<T>& p) {
    return distance(s, p) >= T(0) ? T(1) : T(0);
  }

  template <class T>
  SPIKEXLA_HD static T step(State<T>& s, const Params<T>& p, const Inputs<T>& in, bool) {
    const T spike = spiked(s, p);
    const T V0 = s.V + (p.c - s.V) * spike, u0 = s.u + p.d * spike;
    s.V = V0 + p.dt * (T(0.04) * V0 * V0 + T(5) * V0 + T(140) - u0 + in.I) + in.jump;
    s.u = u0 + p.dt * p.a * (p.b * V0 - u0);
    return spiked(s, p);
  }

  template <bool kWantParams, class T>
  SPIKEXLA_HD static void step_vjp(const State<T>& s, const State<T>&, const Params<T>& p,
                                   const Inputs<T>& in, bool, T slope, T next_slope, T d_spike,
                                   State<T>& ds, Params<T>& dp, Inputs<T>& din) {
    const T spike = spiked(s, p);
    const T V0 = s.V + (p.c - s.V) * spike, u0 = s.u + p.d * spike;
    const T d_next = d_spike * next_slope;
    const T dV1 = ds.V + d_next, du1 = ds.u;
    const T dV0 = dV1 + dV1 * p.dt * (T(0.08) * V0 + T(5)) + du1 * p.dt * p.a * p.b;
    const T du0 = du1 - du1 * p.dt * p.a - dV1 * p.dt;
    const T d_last = ((p.c - s.V) * dV0 + p.d * du0) * slope;
    din.I = dV1 * p.dt;
    din.jump = dV1;
    ds.V = dV0 - spike * dV0 + d_last;
    ds.u = du0;
    if constexpr (kWantParams) {
      dp.dt +=
          dV1 * (T(0.04) * V0 * V0 + T(5) * V0 + T(140) - u0 + in.I) + du1 * p.a * (p.b * V0 - u0);
      dp.a += du1 * p.dt * (p.b * V0 - u0);
      dp.b += du1 * p.dt * p.a * V0;
      dp.c += spike * dV0;
      dp.d += spike * du0;
      dp.V_th -= d_next + d_last;
    }
  }
};

SPIKEXLA_END
