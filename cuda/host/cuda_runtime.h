// CUDA's words for a plain C++ compiler: kernels run on the host, thread by thread.
//
// So the kernels and their handlers are tested on machines without a GPU
// (tests/test_cuda_on_host.py): the same source, every lane, every branch. Not a backend: it is
// slow, and it says nothing of speed, of memory order between warps, or of what the hardware
// refuses.
//
// The 32 threads of a warp are fibers that take turns; a warp-wide operation hands the turn on
// until every thread has arrived. A kernel that reaches such an operation with part of a warp gets
// wrong numbers here, as it would on a GPU.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>

#define __device__
#define __global__
#define __shared__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))

struct dim3 {
  unsigned x = 1;
  dim3() = default;
  explicit dim3(unsigned x) : x(x) {}
};

inline dim3 threadIdx(0), blockIdx(0), blockDim(0);

namespace host_cuda {

// One warp: fibers, and a value each for the operation under way.
class Warp {
 public:
  void run(const std::function<void()>& body) {
    body_ = &body;
    current_ = this;
    for (int lane = 0; lane < 32; ++lane) {
      getcontext(&fibers_[lane]);
      fibers_[lane].uc_stack.ss_sp = stacks_.get() + lane * kStack;
      fibers_[lane].uc_stack.ss_size = kStack;
      fibers_[lane].uc_link = &scheduler_;
      makecontext(&fibers_[lane], &Warp::start, 0);
      done_[lane] = false;
    }
    const unsigned first = threadIdx.x;
    for (bool any = true; any;) {
      any = false;
      for (lane_ = 0; lane_ < 32; ++lane_) {
        if (done_[lane_]) continue;
        threadIdx.x = first + unsigned(lane_);
        swapcontext(&scheduler_, &fibers_[lane_]);
        any = any || !done_[lane_];
      }
    }
    threadIdx.x = first;
  }

  // What every thread calls together: all values are in place when `read` runs.
  template <class T, class Read>
  auto together(T value, const Read& read) {
    memcpy(values_[lane_], &value, sizeof value);
    turn();
    const auto result = read([this](int lane) {
      T of;
      memcpy(&of, values_[lane], sizeof of);
      return done_[lane] ? T{} : of;
    });
    turn();
    return result;
  }
  int lane() const { return lane_; }
  static Warp& current() { return *current_; }

 private:
  static constexpr size_t kStack = 1 << 16;
  static void start() {
    (*current_->body_)();
    current_->done_[current_->lane_] = true;
  }
  void turn() { swapcontext(&fibers_[lane_], &scheduler_); }

  static inline Warp* current_ = nullptr;
  std::unique_ptr<char[]> stacks_{new char[32 * kStack]};
  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_, fibers_[32];
  char values_[32][8];
  bool done_[32];
  int lane_ = 0;
};

}  // namespace host_cuda

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T atomicAdd(T* at, T more) {
  const T before = *at;
  *at = before + more;
  return before;
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __ballot_sync(unsigned, bool vote) {
  return host_cuda::Warp::current().together(int(vote), [](const auto& of) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= unsigned(of(lane)) << lane;
    return votes;
  });
}
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return host_cuda::Warp::current().together(value, [=](const auto& of) { return of(from); });
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const int from = host_cuda::Warp::current().lane() ^ mask;
  return host_cuda::Warp::current().together(value, [=](const auto& of) { return of(from); });
}

enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidConfiguration,
  cudaErrorNoKernelImageForDevice,
  cudaErrorInvalidDeviceFunction
};
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed };
struct cudaFuncAttributes {};
using cudaStream_t = struct HostStream*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline const char* cudaGetErrorString(cudaError_t) { return "no such launch"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline void cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return memset(at, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  return memcpy(to, from, bytes), cudaSuccess;
}

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...),
                               const Args&... args) {
  static std::mutex one_at_a_time;  // XLA calls handlers from several threads
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  static host_cuda::Warp warp;
  if (config->dynamicSmemBytes > 48 << 10 || config->blockDim.x % 32 != 0 ||
      config->blockDim.x > 1024)
    return cudaErrorInvalidConfiguration;
  blockDim = config->blockDim;
  for (blockIdx.x = 0; blockIdx.x < config->gridDim.x; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x += 32)
      warp.run([&] { kernel(args...); });
  return cudaSuccess;
}
