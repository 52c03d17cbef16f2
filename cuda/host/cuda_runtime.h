// CUDA's words for a plain C++ compiler: kernels run on the host, thread by thread.
//
// So the kernels and their handlers are tested on machines without a GPU
// (tests/test_cuda_on_host.py): the same source, every lane, every branch. Not a backend: it is
// slow, and it says nothing of speed, of memory order between warps, or of what the hardware
// refuses.
//
// The threads of a block are fibers that take turns; an operation of a warp or of the block hands
// the turn on until all its threads have arrived. A kernel that reaches such an operation with part
// of a warp gets wrong numbers here, as it would on a GPU.
#pragma once

#undef _FORTIFY_SOURCE  // it takes a jump between fibers for an error

#include <setjmp.h>
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

inline dim3 threadIdx(0), blockIdx(0), blockDim(0), gridDim(0);

namespace host_cuda {

// One block: fibers, and a value each for the operation under way.
class Block {
 public:
  static constexpr int kMost = 1024;

  void run(const std::function<void()>& body, int threads) {
    body_ = &body;
    current_ = this;
    threads_ = threads;
    for (int t = 0; t < threads; ++t) {
      if (!stacks_[t]) stacks_[t].reset(new char[kStack]);
      begun_[t] = done_[t] = waiting_[t] = false;
    }
    for (bool any = true; any;) {
      any = false;
      for (int t = 0; t < threads; ++t)
        if (!done_[t]) resume(t);
      // Only now may the barrier open: within a turn, some of a warp would run ahead of the others.
      bool all_wait = true;
      for (int t = 0; t < threads; ++t) {
        any = any || !done_[t];
        all_wait = all_wait && (done_[t] || waiting_[t]);
      }
      if (all_wait) open();
    }
  }

  // What every thread of a warp calls together: all values are in place when `read` runs.
  template <class T, class Read>
  auto together(T value, const Read& read) {
    memcpy(values_[now_], &value, sizeof value);
    turn();
    const int warp = now_ / 32 * 32;
    const auto result = read([this, warp](int lane) {
      T of;
      memcpy(&of, values_[warp + lane], sizeof of);
      return done_[warp + lane] ? T{} : of;
    });
    turn();
    return result;
  }

  // What every thread of the block calls together: whether any has voted for it.
  bool meet(bool vote) {
    vote_ = vote_ || vote;
    waiting_[now_] = true;
    while (waiting_[now_]) turn();
    return voted_;
  }

  int lane() const { return now_ % 32; }
  static Block& current() { return *current_; }

 private:
  static constexpr size_t kStack = 1 << 16;

  static void start() {
    Block& b = *current_;
    (*b.body_)();
    b.done_[b.now_] = true;
    _longjmp(b.scheduler_, 1);
  }
  void resume(int t) {
    now_ = t;
    threadIdx.x = unsigned(t);
    if (_setjmp(scheduler_) != 0) return;
    if (begun_[t]) _longjmp(fibers_[t], 1);
    begun_[t] = true;
    ucontext_t fresh;  // only a fresh stack is entered by this slower way
    getcontext(&fresh);
    fresh.uc_stack.ss_sp = stacks_[t].get();
    fresh.uc_stack.ss_size = kStack;
    fresh.uc_link = nullptr;
    makecontext(&fresh, &Block::start, 0);
    setcontext(&fresh);
  }
  void turn() {
    if (_setjmp(fibers_[now_]) == 0) _longjmp(scheduler_, 1);
  }
  void open() {
    voted_ = vote_;
    vote_ = false;
    for (int t = 0; t < threads_; ++t) waiting_[t] = false;
  }

  static inline Block* current_ = nullptr;
  std::unique_ptr<char[]> stacks_[kMost];
  const std::function<void()>* body_ = nullptr;
  jmp_buf scheduler_, fibers_[kMost];
  char values_[kMost][8];
  bool begun_[kMost], done_[kMost], waiting_[kMost];
  bool vote_ = false, voted_ = false;
  int threads_ = 0, now_ = 0;
};

inline std::mutex one_at_a_time;  // XLA calls handlers from several threads
inline Block block;

}  // namespace host_cuda

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
T atomicAdd(T* at, T more) {
  const T before = *at;
  *at = before + more;
  return before;
}
template <class T>
T atomicMin(T* at, T other) {
  const T before = *at;
  *at = other < before ? other : before;
  return before;
}
template <class T>
T atomicOr(T* at, T more) {
  const T before = *at;
  *at = before | more;
  return before;
}
inline void __threadfence() {}
inline void __syncthreads() { host_cuda::Block::current().meet(false); }
inline int __syncthreads_or(int vote) { return host_cuda::Block::current().meet(vote != 0); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned __ballot_sync(unsigned, bool vote) {
  return host_cuda::Block::current().together(int(vote), [](const auto& of) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= unsigned(of(lane)) << lane;
    return votes;
  });
}
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return host_cuda::Block::current().together(value, [=](const auto& of) { return of(from); });
}
template <class T>
T __shfl_up_sync(unsigned, T value, int by) {
  const int lane = host_cuda::Block::current().lane();
  const int from = lane < by ? lane : lane - by;
  return host_cuda::Block::current().together(value, [=](const auto& of) { return of(from); });
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const int from = host_cuda::Block::current().lane() ^ mask;
  return host_cuda::Block::current().together(value, [=](const auto& of) { return of(from); });
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
  const std::lock_guard<std::mutex> lock(host_cuda::one_at_a_time);
  if (config->dynamicSmemBytes > 48 << 10 || config->blockDim.x % 32 != 0 ||
      config->blockDim.x > 1024)
    return cudaErrorInvalidConfiguration;
  blockDim = config->blockDim;
  gridDim = config->gridDim;
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
    host_cuda::block.run([&] { kernel(args...); }, int(blockDim.x));
  return cudaSuccess;
}
