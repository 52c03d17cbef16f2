// Philox 4x32-10: random words as a pure function of (seed, stream, step, index).
//
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A draw depends on what it
// is for and on nothing else, so numbers are the same for any number of threads, any split and any
// device.
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

struct Words {
  uint32_t w0, w1, w2, w3;
};

SPIKEXLA_HD uint32_t mul_hi(uint32_t a, uint32_t b) { return uint32_t((uint64_t{a} * b) >> 32); }

// Four independent words. `index` says who draws (a neuron, a row), `step` when or how many draws
// ago, `stream` for which purpose; the seed is the user's.
SPIKEXLA_HD Words philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  uint32_t c0 = uint32_t(index), c1 = uint32_t(index >> 32), c2 = step, c3 = stream;
#ifndef __CUDACC__
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint32_t hi0 = mul_hi(0xD2511F53u, c0), lo0 = 0xD2511F53u * c0;
    const uint32_t hi1 = mul_hi(0xCD9E8D57u, c2), lo1 = 0xCD9E8D57u * c2;
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

SPIKEXLA_END
