// The few words that every CPU handler needs to read XLA's buffers.
#pragma once

#include <string>

#include "cpu/fresh_pages.h"
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

// Huge pages for a result that is large enough to have some.
inline void prefer_huge_pages(ffi::AnyBuffer b) {
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
