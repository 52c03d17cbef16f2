// What surrounds the work of every handler: no exception reaches XLA, and no result is taken for
// granted.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>

#include "cpu/room.h"
#include "ffi/buffers.h"

namespace spikexla {

// XLA hands out results in memory that holds whatever was there. With SPIKEXLA_POISON=1 they are
// filled with bytes of 0xFF first, NaN to floats: an element that a kernel forgets shows.
inline bool wants_poison() {
  static const bool wanted = [] {
    const char* value = std::getenv("SPIKEXLA_POISON");
    return value && std::strcmp(value, "1") == 0;
  }();
  return wanted;
}

// `fill(address, bytes)` for every result that is not an argument too.
template <class Fill>
void each_fresh(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets, const Fill& fill) {
  for (size_t k = 0; k < rets.size(); ++k) {
    const ffi::AnyBuffer result = **rets.get<ffi::AnyBuffer>(k);
    bool fresh = result.size_bytes() > 0;
    for (size_t j = 0; j < args.size(); ++j)
      fresh = fresh && args.get<ffi::AnyBuffer>(j)->untyped_data() != result.untyped_data();
    if (fresh) fill(result.untyped_data(), result.size_bytes());
  }
}

inline void poison(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets) {
  if (wants_poison())
    each_fresh(args, rets, [](void* to, size_t bytes) { std::memset(to, 0xFF, bytes); });
}

inline ffi::Error exhausted(const std::string& message) {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "spikexla: " + message);
}

// The error of run(), or of what it throws. `what` names the kernel; `advice` is the next move
// where its memory ends.
template <class Run>
ffi::Error guarded(const char* what, const char* advice, const Run& run) {
  const auto failed = [&](const std::string& why) { return std::string(what) + why + advice; };
  try {
    return run();
  } catch (const NoRoom& none) {
    return exhausted(failed(" needs " + std::to_string(none.bytes()) +
                            " bytes of memory to work in, which are not there. "));
  } catch (const std::bad_alloc&) {
    return exhausted(failed(": there is no memory left to work in. "));
  } catch (const std::exception& error) {
    return ffi::Error::Internal("spikexla: " + std::string(what) + ": " + error.what());
  }
}

}  // namespace spikexla
