// exp and expm1 from additions and multiplications only.
//
// libm's versions differ between hosts, SIMD levels and CUDA; these give the same bits everywhere,
// because nothing is contracted into a fused multiply-add (-ffp-contract=off, --fmad=false).
// Error at most 1.5 (exp) and 2.5 (expm1) units in the last place on the whole range
// (csrc/tests/math_test.cc).
#pragma once

#include <cstring>

#include "portable.h"

SPIKEXLA_BEGIN

template <class To, class From>
SPIKEXLA_HD To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
#ifdef __CUDACC__
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
#else
  return __builtin_bit_cast(To, from);
#endif
}

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  using Int = int32_t;
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kHi = 0.693359375f, kLo = -2.12194440e-4f;
  static constexpr float kMin = -87.0f, kMax = 88.0f;
  static constexpr int kMantissa = 23, kTerms = 7, kShortTerms = 8;
  static constexpr Int kOne = 127;
};

template <>
struct ExpConstants<double> {
  using Int = int64_t;
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kHi = 6.93145751953125e-1, kLo = 1.42860682030941723212e-6;
  static constexpr double kMin = -708.0, kMax = 709.0;
  static constexpr int kMantissa = 52, kTerms = 13, kShortTerms = 15;
  static constexpr Int kOne = 1023;
};

SPIKEXLA_HD constexpr double factorial(int n) { return n > 1 ? n * factorial(n - 1) : 1; }

// (e^f - 1) / f by its Taylor series,  1/1! + f (1/2! + f (1/3! + ...)), from term k on.
template <int kTerms, int k = 1, class T>
SPIKEXLA_HD T expm1_series(T f) {
  constexpr T c = T(1 / factorial(k));
  if constexpr (k == kTerms) return c;
  else return c + f * expm1_series<kTerms, k + 1>(f);
}

// x = n ln 2 + f with |f| <= ln 2 / 2;  `scale` = 2^n,  `rest` = e^f - 1.
template <class T>
struct ExpParts {
  T scale, rest;
};

template <class T>
SPIKEXLA_HD ExpParts<T> exp_parts(T x) {
  using C = ExpConstants<T>;
  using Int = typename C::Int;
  x = x < C::kMin ? C::kMin : x;
  x = x > C::kMax ? C::kMax : x;
  const T shifted = x * T(1.4426950408889634) + C::kMagic;
  const T n = shifted - C::kMagic;
  const T f = (x - n * C::kHi) - n * C::kLo;
  const Int exponent = bits<Int>(shifted) - bits<Int>(T(C::kMagic)) + C::kOne;
  return {bits<T>(Int(exponent) << C::kMantissa), f * expm1_series<C::kTerms>(f)};
}

template <class T>
SPIKEXLA_HD T exp(T x) {
  const ExpParts<T> e = exp_parts(x);
  return e.scale + e.scale * e.rest;
}

template <class T>
SPIKEXLA_HD T expm1(T x) {
  const ExpParts<T> e = exp_parts(x);
  return (e.scale - T(1)) + e.scale * e.rest;
}

// Whether decay_ratio is its series alone. dt times the total conductance over C is rarely more.
template <class T>
SPIKEXLA_HD bool is_short(T z) {
  return (z < T(0) ? -z : z) < T(0.5);
}

// (1 - e^-z) / z, which is 1 at z = 0. With kShort the caller knows that z is short: same bits,
// less work.
template <bool kShort = false, class T>
SPIKEXLA_HD T decay_ratio(T z) {
  const T series = expm1_series<ExpConstants<T>::kShortTerms>(-z);
  if constexpr (kShort) return series;
  const ExpParts<T> e = exp_parts(-z);
  const T ratio = ((T(1) - e.scale) - e.scale * e.rest) / z;
  return is_short(z) ? series : ratio;
}

// d/dz of decay_ratio, given its value `ratio`: (e^-z - ratio) / z, and its limit -1/2 at z = 0.
// Below `kSmall` the difference cancels, so the series -1/2 + z/3 - z^2/8 stands in.
template <class T>
SPIKEXLA_HD T decay_ratio_slope(T z, T ratio) {
  const T kSmall = sizeof(T) == 4 ? T(0.02) : T(1e-4);
  const T series = T(-0.5) + z * (T(1) / T(3)) - z * z * T(0.125);
  const T exact = ((T(1) - z * ratio) - ratio) / z;
  return (z < T(0) ? -z : z) < kSmall ? series : exact;
}

SPIKEXLA_END
