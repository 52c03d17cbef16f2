// XLA handler of reset on a GPU. The twin of csrc/ffi/reset.cc; the arrays are those of
// ffi/reset_operands.h.
#include <algorithm>

#include "ffi/launches.cuh"
#include "ffi/registry.h"
#include "ffi/reset_operands.h"
#include "launch.cuh"
#include "reset.cuh"

namespace spikexla {
namespace {

// Whether all of these are whole words of 4 bytes at whole addresses.
bool in_words(std::initializer_list<int64_t> sizes, std::initializer_list<const void*> addresses) {
  const auto whole = [](uint64_t n) { return n % 4 == 0; };
  return std::all_of(sizes.begin(), sizes.end(), whole) &&
         std::all_of(addresses.begin(), addresses.end(),
                     [&](const void* at) { return whole(reinterpret_cast<uintptr_t>(at)); });
}

// In words if it can be: a thread then stores four bytes at once.
cuda::Fill in_units(const Fill& f) {
  const bool words = in_words({f.bytes, f.value_bytes, f.row_bytes}, {f.to, f.from, f.value});
  const int64_t unit = words ? 4 : 1;
  return {f.to, f.from, f.value, f.bytes / unit, f.value_bytes / unit, f.row_bytes / unit,
          0,    words};
}

ffi::Error handle(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  ResetOperands o;
  if (auto error = o.read(args, rets); error.failure()) return error;
  if (auto error = poison(stream, args, rets); error.failure()) return error;
  cuda::ResetArgs a{};
  a.mask = o.keep;
  int64_t blocks = 0;
  for (size_t k = 0; k < o.fills.size(); ++k) {
    cuda::Fill fill = in_units(o.fills[k]);
    if (fill.units > 0) {
      fill.first_block = blocks;
      blocks += (fill.units + cuda::kResetUnits - 1) / cuda::kResetUnits;
      a.fills[a.count++] = fill;
    }
    if (a.count == cuda::kMostFills || k + 1 == o.fills.size()) {
      const cudaError_t error =
          cuda::launch<&cuda::reset<cuda::ResetArgs>>(stream, blocks, cuda::kResetThreads, 0, a);
      if (error) return checked(error, "reset");
      a.count = 0;
      blocks = 0;
    }
  }
  return ffi::Error::Success();
}

XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound = ffi::Ffi::Bind()
                           .Ctx<ffi::PlatformStream<cudaStream_t>>()
                           .RemainingArgs()
                           .RemainingRets()
                           .To(&handle, kGraphSafe)
                           .release();
  return bound->Call(frame);
}

}  // namespace

void add_reset_kernels(std::vector<Kernel>& kernels) {
  kernels.push_back(
      {"spikexla.reset.v1", "CUDA", "", "", "", "", reinterpret_cast<void*>(&handler)});
}

}  // namespace spikexla
