// The arrays of one call of reset, read and checked for the handlers of all platforms.
//
// args   buffers..., values..., mask           rets   buffers...
// A value has the trailing axes of its buffer, as many as it wants: () is a constant, (neurons,)
// the same for every trial. mask is () for all, or (trials,) bool: only those indices of the
// leading axis, which every buffer then has, are written.
#pragma once

#include <string>
#include <vector>

#include "ffi/guarded.h"

namespace spikexla {

// One buffer to fill, in bytes.
struct Fill {
  char* to;
  const char *from, *value;
  int64_t bytes, value_bytes, row_bytes;  // row: one index of the leading axis
};

inline bool ends_with(const ffi::AnyBuffer& b, const ffi::AnyBuffer& end) {
  const auto all = b.dimensions(), last = end.dimensions();
  return last.size() <= all.size() && std::equal(last.begin(), last.end(), all.end() - last.size());
}

class ResetOperands {
 public:
  // An error names the first thing that is wrong.
  ffi::Error read(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets) {
    const size_t n = rets.size();
    if (args.size() != 2 * n + 1)
      return invalid("reset: given " + std::to_string(args.size()) + " arrays for " +
                     std::to_string(n) + " buffers, must be as many, one value each and a mask");
    const ffi::AnyBuffer mask = *args.get<ffi::AnyBuffer>(2 * n);
    const bool masked = mask.dimensions().size() == 1;
    if (mask.element_type() != ffi::PRED || mask.dimensions().size() > 1)
      return invalid("reset: the mask is " + describe(mask) + ", must be bool () or (trials,)");
    if (masked) keep = static_cast<const bool*>(mask.untyped_data());
    for (size_t k = 0; k < n; ++k) {
      const ffi::AnyBuffer from = *args.get<ffi::AnyBuffer>(k),
                           value = *args.get<ffi::AnyBuffer>(n + k),
                           to = **rets.get<ffi::AnyBuffer>(k);
      const std::string which = std::to_string(k);
      const auto dims = to.dimensions();
      if (from.element_type() != to.element_type() || !has_shape(from, dims))
        return invalid("reset: result " + which + " is " + describe(to) +
                       ", must be like its buffer, " + describe(from));
      if (value.element_type() != to.element_type() || !ends_with(to, value))
        return invalid("reset: value " + which + " is " + describe(value) +
                       ", must have the type and the trailing axes of its buffer, " + describe(to));
      if (masked && (dims.size() == 0 || dims[0] != mask.dimensions()[0]))
        return invalid("reset: the mask is " + describe(mask) +
                       ", must be the leading axis of buffer " + which + ", " + describe(to));
      const int64_t bytes = to.size_bytes(), rows = masked ? dims[0] : 1;
      fills.push_back({static_cast<char*>(to.untyped_data()),
                       static_cast<const char*>(from.untyped_data()),
                       static_cast<const char*>(value.untyped_data()), bytes,
                       int64_t(value.size_bytes()), rows ? bytes / rows : 0});
    }
    return ffi::Error::Success();
  }

  std::vector<Fill> fills;
  const bool* keep = nullptr;  // the mask, if there is one
};

}  // namespace spikexla
