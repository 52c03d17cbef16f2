// Slopes that stand in for the derivative of the Heaviside step, as in braintools.surrogate.
//
// `x` is the scaled distance to threshold; `a` and `b` are the surrogate's two operands (unused
// ones are ignored). The Python twin is python/spikexla/surrogate.py, in the same order and
// letters.
#pragma once

#include "math.h"

SPIKEXLA_BEGIN

enum class Surrogate : int32_t {
  kReluGrad,
  kSigmoid,
  kArctan,
  kSoftSign,
  kInvSquareGrad,
  kPiecewiseQuadratic,
  kPiecewiseExp,
  kGaussianGrad,
  kSlayerGrad,
};
inline constexpr const char* kSurrogates[] = {
    "relu_grad",           "sigmoid",       "arctan",        "soft_sign",  "inv_square_grad",
    "piecewise_quadratic", "piecewise_exp", "gaussian_grad", "slayer_grad"};

template <class T>
SPIKEXLA_HD T positive(T x) {
  return x > T(0) ? x : T(0);
}

template <Surrogate kind, class T>
SPIKEXLA_HD T surrogate_slope(T x, T a, T b) {
  const T d = x < T(0) ? -x : x;
  if constexpr (kind == Surrogate::kReluGrad) {
    return positive(a * b - a * d);
  } else if constexpr (kind == Surrogate::kSigmoid) {
    const T e = exp(-a * d);  // sigma (1 - sigma) is even in x
    return a * e / ((T(1) + e) * (T(1) + e));
  } else if constexpr (kind == Surrogate::kArctan) {
    const T y = T(1.5707963267948966) * a * x;
    return T(0.5) * a / (T(1) + y * y);
  } else if constexpr (kind == Surrogate::kSoftSign) {
    const T y = T(1) + a * d;
    return T(0.5) * a / (y * y);
  } else if constexpr (kind == Surrogate::kInvSquareGrad) {
    const T y = T(1) + a * d;
    return T(1) / (y * y);
  } else if constexpr (kind == Surrogate::kPiecewiseQuadratic) {
    return positive(a - a * a * d);
  } else if constexpr (kind == Surrogate::kPiecewiseExp) {
    return T(0.5) * a * exp(-a * d);
  } else if constexpr (kind == Surrogate::kGaussianGrad) {
    const T y = x / a;
    return b * T(0.3989422804014327) / a * exp(T(-0.5) * y * y);
  } else {
    return exp(-a * d);
  }
}

SPIKEXLA_END
