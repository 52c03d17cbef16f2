// The few words that every CUDA handler needs, beside those of csrc/ffi/buffers.h.
#pragma once

#include <cuda_runtime.h>

#include <initializer_list>
#include <string>

#include "ffi/buffers.h"

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

}  // namespace spikexla
