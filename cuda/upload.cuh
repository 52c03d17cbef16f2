// Brings a table from the host to the device in the arguments of launches: unlike a copy from
// pageable memory, that waits for nothing.
#pragma once

#include <algorithm>
#include <cstring>

#include "launch.cuh"

SPIKEXLA_BEGIN

namespace cuda {

inline constexpr int kUploadWords = 500;  // of one launch: what kernel arguments have room for

struct UploadArgs {
  uint64_t* to;
  int64_t count;
  uint64_t words[kUploadWords];
};

// A template only so that every source may include it.
template <class Args>
__global__ void __launch_bounds__(128) upload_words(const __grid_constant__ Args a) {
  for (int64_t i = threadIdx.x; i < a.count; i += blockDim.x) a.to[i] = a.words[i];
}

inline cudaError_t upload(cudaStream_t stream, uint64_t* to, const uint64_t* from, int64_t words) {
  for (int64_t first = 0; first < words; first += kUploadWords) {
    UploadArgs a{to + first, std::min<int64_t>(kUploadWords, words - first), {}};
    memcpy(a.words, from + first, a.count * sizeof *from);
    if (const cudaError_t error = launch<&upload_words<UploadArgs>>(stream, 1, 128, 0, a))
      return error;
  }
  return cudaSuccess;
}

}  // namespace cuda

SPIKEXLA_END
