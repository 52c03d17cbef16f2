// The few words that every handler needs to read XLA's buffers.
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

// Sizes as Python prints them.
template <class Dims>
std::string shape(const Dims& dims) {
  std::string text = "(";
  for (size_t k = 0; k < dims.size(); ++k) text += (k ? ", " : "") + std::to_string(dims[k]);
  return text + (dims.size() == 1 ? ",)" : ")");
}

// An element type as numpy calls it.
inline std::string type_name(ffi::DataType type) {
  switch (type) {
    case ffi::PRED:
      return "bool";
    case ffi::S8:
      return "int8";
    case ffi::S16:
      return "int16";
    case ffi::S32:
      return "int32";
    case ffi::S64:
      return "int64";
    case ffi::U8:
      return "uint8";
    case ffi::U16:
      return "uint16";
    case ffi::U32:
      return "uint32";
    case ffi::U64:
      return "uint64";
    case ffi::F16:
      return "float16";
    case ffi::BF16:
      return "bfloat16";
    case ffi::F32:
      return "float32";
    case ffi::F64:
      return "float64";
    case ffi::C64:
      return "complex64";
    case ffi::C128:
      return "complex128";
    default:
      return "type " + std::to_string(int(type)) + " of XLA";
  }
}

// Such as "float32 (3, 20)".
inline std::string describe(const ffi::AnyBuffer& b) {
  return type_name(b.element_type()) + " " + shape(b.dimensions());
}

template <class Dims>
bool has_shape(const ffi::AnyBuffer& b, const Dims& dims) {
  const auto have = b.dimensions();
  return have.size() == dims.size() && std::equal(have.begin(), have.end(), dims.begin());
}

inline ffi::Error out_of_range(const std::string& what, const char* attribute, int64_t value,
                               int64_t low, int64_t high) {
  return invalid(what + ": the attribute " + attribute + " is " + std::to_string(value) +
                 ", must be from " + std::to_string(low) + " to " + std::to_string(high));
}

// Huge pages for a result that is large enough to have some.
inline void prefer_huge_pages(ffi::AnyBuffer b) {
  prefer_huge_pages(b.untyped_data(), b.size_bytes());
}

inline bool is_native_float(const ffi::AnyBuffer& b) {
  return b.element_type() == ffi::F32 || b.element_type() == ffi::F64;
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
      return invalid("the kernels' numbers are given as " + describe(b) +
                     ", must be float32 or float64");
  }
}

}  // namespace spikexla
