// Grid sizes and launches.
//
// A handler promises XLA that it always launches the same work (kCmdBufferCompatible), so that a
// call can be recorded into a CUDA graph: sizes follow from shapes alone, nothing is allocated, and
// the host never waits for the device.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

#include "portable.h"

SPIKEXLA_BEGIN

namespace cuda {

// Wide calls take blocks of 128; narrow ones smaller blocks, so that more multiprocessors get one.
inline int threads_for(int64_t lanes) {
  return lanes >= 1 << 16 ? 128 : lanes >= 1 << 14 ? 64 : 32;
}

inline int64_t blocks_for(int64_t lanes, int threads) { return (lanes + threads - 1) / threads; }

// While it lives, this thread may make calls that a stream capture forbids by default.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Brings a kernel's code onto the current device. The driver would do it at the first launch, and
// inside a capture that can break the capture.
template <auto kKernel>
cudaError_t load() {
  static std::atomic<uint64_t> devices{0};
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device)) return error;
  const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
  if (devices.load(std::memory_order_relaxed) & bit) return cudaSuccess;
  const RelaxedCapture relaxed;
  cudaFuncAttributes attributes;
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, kKernel)) return error;
  devices.fetch_or(bit, std::memory_order_relaxed);
  return cudaSuccess;
}

// One launch; a grid without blocks is no launch.
template <auto kKernel, class... Args>
cudaError_t launch(cudaStream_t stream, int64_t blocks, int threads, size_t shared,
                   const Args&... args) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (const cudaError_t error = load<kKernel>()) return error;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  const cudaError_t launched = cudaLaunchKernelEx(&config, kKernel, args...);
  const cudaError_t last = cudaGetLastError();  // also forgets it: the next call starts clean
  return launched ? launched : last;
}

}  // namespace cuda

SPIKEXLA_END
