// The few words that let one header compile as C++ for several SIMD levels and as CUDA.
//
// Every header below models/ and cpu/ lives in an inline namespace named after the SIMD level it is
// compiled for: the same template compiled twice with different instructions must not be merged by
// the linker, or the baseline code could run an AVX-512 copy.
#pragma once

#include <cstdint>

#ifndef SPIKEXLA_ISA
#define SPIKEXLA_ISA baseline
#endif

#define SPIKEXLA_BEGIN \
  namespace spikexla { \
  inline namespace SPIKEXLA_ISA {
#define SPIKEXLA_END \
  }                  \
  }

#ifdef __CUDACC__
#define SPIKEXLA_HD __host__ __device__ __forceinline__
#else
#define SPIKEXLA_HD inline __attribute__((always_inline))
#endif
