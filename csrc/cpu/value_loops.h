// The laws of weights and delays, in lanes that the compiler vectorises.
#pragma once

#include "cpu/connect_loops.h"

SPIKEXLA_BEGIN

namespace cpu {

// The quantile of the standard normal distribution, to 7 digits: Wichura 1988, algorithm AS 241,
// PPND7. In the centre, where |p - 1/2| <= kCentre, it is a quotient of polynomials in p - 1/2.
constexpr double kCentre = 0.425;

SPIKEXLA_HD double normal_centre(double p) {
  const double q = p - 0.5, c = 0.180625 - q * q;
  return q * (((59.10937472 * c + 159.29113202) * c + 50.434271938) * c + 3.3871327179) /
         (((67.1875636 * c + 78.757757664) * c + 17.895169469) * c + 1.0);
}

// The quantile in the tails. A probability nearer to 0 or 1 than 2^-36 counts as that, 6.6
// deviations away.
SPIKEXLA_HD double normal_tail(double p) {
  const double q = p - 0.5;
  double t = q < 0.0 ? p : 1.0 - p;
  t = t > 0x1p-36 ? t : 0x1p-36;
  const double r = __builtin_sqrt(-log_normal(t)) - 1.6;
  const double tail = (((0.17023821103 * r + 1.3067284816) * r + 2.75681539) * r + 1.4234372777) /
                      ((0.12021132975 * r + 0.7370016425) * r + 1.0);
  return q < 0.0 ? -tail : tail;
}

// The quantiles of a block. Only one of seven lies in the tails, which take four times as long:
// they are moved together before their logarithms, roots and quotients are made.
inline void normal_quantiles(const double (&p)[kValueBlock], double (&z)[kValueBlock]) {
  constexpr int64_t kEven = 8;  // in the tails, as many as a vector has; what is added is not used
  double tail[kValueBlock + kEven];
  int32_t from[kValueBlock + kEven];
  int32_t n = 0;
  for (int64_t l = 0; l < kValueBlock; ++l) z[l] = normal_centre(p[l]);
  for (int64_t l = 0; l < kValueBlock; ++l) {
    const double q = p[l] - 0.5;
    from[n] = int32_t(l);
    tail[n] = p[l];
    n += !((q < 0.0 ? -q : q) <= kCentre);
  }
  const int32_t even = int32_t((n + kEven - 1) / kEven * kEven);
  for (int64_t k = n; k < even; ++k) tail[k] = 0.0;
  for (int64_t k = 0; k < even; ++k) tail[k] = normal_tail(tail[k]);
  for (int64_t k = 0; k < n; ++k) z[from[k]] = tail[k];
}

// Uniform in (0, 1).
SPIKEXLA_HD double uniform_of(uint32_t word) { return (double(word) + 0.5) * 0x1p-32; }

template <Law kLaw>
SPIKEXLA_HD void values_of(const DrawValues& a, const uint32_t (&words)[kValueBlock], float* to) {
  if constexpr (kLaw == Law::kExponential) {
    for (int64_t l = 0; l < kValueBlock; ++l) to[l] = float(-log_normal(uniform_of(words[l])));
  } else {
    double x[kValueBlock];
    for (int64_t l = 0; l < kValueBlock; ++l) x[l] = uniform_of(words[l]);
    if constexpr (kLaw != Law::kUniform) {
      double p[kValueBlock];
      for (int64_t l = 0; l < kValueBlock; ++l) p[l] = a.from + a.span * x[l];
      normal_quantiles(p, x);
    }
    for (int64_t l = 0; l < kValueBlock; ++l) {
      const double y = a.spread * x[l] + a.centre;
      float value = float(kLaw == Law::kLogNormal ? exp(y) : y);
      value = value > a.low ? value : a.low;
      to[l] = value < a.high ? value : a.high;
    }
  }
}

template <Law kLaw>
inline void draw_law(const DrawValues& a) {
  for (int64_t k = 0; k < a.count; k += kValueBlock) {
    uint32_t words[kValueBlock];
    float values[kValueBlock];
    for (int64_t l = 0; l < kLanes; ++l) {
      const Words w = philox(a.seed, a.stream, uint32_t((a.at + k) / 4 + l), a.row);
      words[l] = w.w0;
      words[kLanes + l] = w.w1;
      words[2 * kLanes + l] = w.w2;
      words[3 * kLanes + l] = w.w3;
    }
    const int64_t here = a.count - k < kValueBlock ? a.count - k : kValueBlock;
    float* to = here < kValueBlock ? values : a.to + k;
    values_of<kLaw>(a, words, to);
    if (to == values) memcpy(a.to + k, values, size_t(here) * sizeof(float));
  }
}

inline void draw_values(const DrawValues& a) {
  switch (a.law) {
    case Law::kExponential:
      return draw_law<Law::kExponential>(a);
    case Law::kUniform:
      return draw_law<Law::kUniform>(a);
    case Law::kNormal:
      return draw_law<Law::kNormal>(a);
    case Law::kLogNormal:
      return draw_law<Law::kLogNormal>(a);
  }
}

}  // namespace cpu

SPIKEXLA_END
