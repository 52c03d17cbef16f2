// The laws of weights and delays, in lanes that the compiler vectorises.
#pragma once

#include "cpu/connect_loops.h"

SPIKEXLA_BEGIN

namespace cpu {

// The quantile of the standard normal distribution, to 7 digits: Wichura 1988, algorithm AS 241,
// PPND7. A probability nearer to 0 or 1 than 2^-36 counts as that, 6.6 deviations away.
SPIKEXLA_HD double normal_quantile(double p) {
  const double q = p - 0.5, c = 0.180625 - q * q;
  const double centre = q *
                        (((59.10937472 * c + 159.29113202) * c + 50.434271938) * c + 3.3871327179) /
                        (((67.1875636 * c + 78.757757664) * c + 17.895169469) * c + 1.0);
  double t = q < 0.0 ? p : 1.0 - p;
  t = t > 0x1p-36 ? t : 0x1p-36;
  const double r = __builtin_sqrt(-log_normal(t)) - 1.6;
  const double tail = (((0.17023821103 * r + 1.3067284816) * r + 2.75681539) * r + 1.4234372777) /
                      ((0.12021132975 * r + 0.7370016425) * r + 1.0);
  const double far = q < 0.0 ? -tail : tail;
  return (q < 0.0 ? -q : q) <= 0.425 ? centre : far;
}

template <Law kLaw>
SPIKEXLA_HD float value_of(const DrawValues& a, uint32_t word) {
  const double u = (double(word) + 0.5) * 0x1p-32;
  if (kLaw == Law::kExponential) return float(-log_normal(u));
  double x = a.spread * u;
  if (kLaw != Law::kUniform) x = a.spread * normal_quantile(a.from + a.span * u);
  x += a.centre;
  float value = float(kLaw == Law::kLogNormal ? exp(x) : x);
  value = value > a.low ? value : a.low;
  return value < a.high ? value : a.high;
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
    for (int64_t l = 0; l < kValueBlock; ++l) to[l] = value_of<kLaw>(a, words[l]);
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
