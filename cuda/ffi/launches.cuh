// The few words that every CUDA handler needs, beside those of csrc/ffi/buffers.h.
#pragma once

#include <cuda_runtime.h>

#include <initializer_list>
#include <string>

#include "ffi/guarded.h"

namespace spikexla {

// Every handler promises that it always launches the same work: see cuda/launch.cuh.
inline constexpr std::initializer_list<ffi::Traits> kGraphSafe = {
    ffi::Traits::kCmdBufferCompatible};

inline ffi::Error checked(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return ffi::Error::Success();
  std::string message = std::string("spikexla: ") + what +
                        " could not be launched: " + cudaGetErrorString(error) + ".";
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction)
    message +=
        " The library holds no code for this GPU. Rebuild it there with "
        "SPIKEXLA_CUDA_ARCHS=native, "
        "or choose the pure JAX path with sx.backend('xla').";
  return ffi::Error::Internal(message);
}

// The twin of csrc/ffi/guarded.h: results filled with bytes of 0xFF if SPIKEXLA_POISON=1.
inline ffi::Error poison(cudaStream_t stream, const ffi::RemainingArgs& args,
                         const ffi::RemainingRets& rets) {
  cudaError_t error = cudaSuccess;
  if (wants_poison())
    each_fresh(args, rets, [&](void* to, size_t bytes) {
      if (!error) error = cudaMemsetAsync(to, 0xFF, bytes, stream);
    });
  return checked(error, "SPIKEXLA_POISON");
}

}  // namespace spikexla
