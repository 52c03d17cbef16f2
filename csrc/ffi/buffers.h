// The few words that every CPU handler needs to read XLA's buffers.
#pragma once

#include <sys/mman.h>

#include <string>

#include "cpu/parallel.h"
#include "xla/ffi/api/ffi.h"

namespace spikexla {

namespace ffi = xla::ffi;

inline ffi::Error invalid(const std::string& message) {
  return ffi::Error::InvalidArgument("spikexla: " + message);
}

inline std::string describe(const ffi::AnyBuffer& b) {
  std::string text = "(";
  for (size_t k = 0; k < b.dimensions().size(); ++k)
    text += (k ? ", " : "") + std::to_string(b.dimensions()[k]);
  return text + ")";
}

// Asks for huge pages under a large result before it is first written. A fresh result of 40 MB
// costs 10,000 page faults otherwise, which is more than the arithmetic.
inline void prefer_huge_pages(const void* data, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHuge = uintptr_t{1} << 21;
  if (bytes < kHuge) return;
  const uintptr_t from = (reinterpret_cast<uintptr_t>(data) + kHuge - 1) & ~(kHuge - 1);
  const uintptr_t to = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHuge - 1);
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#endif
}

inline void prefer_huge_pages(const ffi::AnyBuffer& b) {
  prefer_huge_pages(b.untyped_data(), b.size_bytes());
}

// Calls run(float{}) or run(double{}) after the element type of `b`.
template <class Run>
ffi::Error by_float_type(const ffi::AnyBuffer& b, const Run& run) {
  switch (b.element_type()) {
    case ffi::F32:
      return run(float{});
    case ffi::F64:
      return run(double{});
    default:
      return invalid("the native kernels take float32 and float64 only");
  }
}

}  // namespace spikexla
