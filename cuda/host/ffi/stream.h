// The stream of a handler that runs on the host: there is none. Included before every handler.
#pragma once

#include "cuda_runtime.h"
#include "xla/ffi/api/ffi.h"

namespace xla::ffi {
template <>
struct CtxDecoding<PlatformStream<cudaStream_t>> {
  using Type = cudaStream_t;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return cudaStream_t{};
  }
};
}  // namespace xla::ffi
