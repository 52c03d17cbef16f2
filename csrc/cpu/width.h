// How wide a register of the level is that is being compiled.
//
// GCC takes a wider vector apart, in many loops into single lanes that travel through memory: a
// vector type must not be wider than this.
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;  // SSE, NEON
#endif

}  // namespace cpu

SPIKEXLA_END
