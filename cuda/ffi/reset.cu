// XLA handler of reset on a GPU. The twin of csrc/ffi/reset.cc, with the same arguments and
// results.
#include <algorithm>

#include "ffi/launches.cuh"
#include "ffi/registry.h"
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

// Describes buffer k; false if its value or the mask does not fit.
bool describe_fill(const ffi::AnyBuffer& from, const ffi::AnyBuffer& value,
                   const ffi::AnyBuffer& to, const ffi::AnyBuffer& mask, cuda::Fill* fill) {
  const int64_t bytes = to.size_bytes(), value_bytes = value.size_bytes();
  if (int64_t(from.size_bytes()) != bytes || value.element_type() != to.element_type() ||
      (bytes > 0 && (value_bytes == 0 || bytes % value_bytes != 0)))
    return false;
  int64_t rows = 1;
  if (mask.dimensions().size() == 1) {
    rows = to.dimensions().size() ? to.dimensions()[0] : 0;
    if (rows != int64_t(mask.element_count())) return false;
  }
  const int64_t row_bytes = rows ? bytes / rows : 0;
  const bool words = in_words({bytes, value_bytes, row_bytes},
                              {to.untyped_data(), from.untyped_data(), value.untyped_data()});
  const int64_t unit = words ? 4 : 1;
  *fill = {static_cast<char*>(to.untyped_data()),
           static_cast<const char*>(from.untyped_data()),
           static_cast<const char*>(value.untyped_data()),
           bytes / unit,
           value_bytes / unit,
           row_bytes / unit,
           0,
           words};
  return true;
}

ffi::Error handle(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const size_t n = rets.size();
  if (args.size() != 2 * n + 1) return invalid("reset: give one value a buffer, and a mask");
  const ffi::AnyBuffer mask = *args.get<ffi::AnyBuffer>(2 * n);
  cuda::ResetArgs a{};
  if (mask.dimensions().size() == 1) a.mask = static_cast<const bool*>(mask.untyped_data());
  int64_t blocks = 0;
  for (size_t k = 0; k < n; ++k) {
    const ffi::AnyBuffer to = **rets.get<ffi::AnyBuffer>(k);
    cuda::Fill fill;
    if (!describe_fill(*args.get<ffi::AnyBuffer>(k), *args.get<ffi::AnyBuffer>(n + k), to, mask,
                       &fill))
      return invalid("reset: value " + std::to_string(k) + " or the mask " + describe(mask) +
                     " does not fit " + describe(to));
    if (fill.units > 0) {
      fill.first_block = blocks;
      blocks += (fill.units + cuda::kResetUnits - 1) / cuda::kResetUnits;
      a.fills[a.count++] = fill;
    }
    if (a.count == cuda::kMostFills || k + 1 == n) {
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
