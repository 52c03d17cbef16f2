// XLA handler of reset: fills many buffers of any type in one call, in place.
//
// args   buffers..., values..., mask           rets   buffers...
// A value has as many elements as its buffer, or a number that divides it: it is then repeated, so
// a scalar is a constant and (neurons,) is the same for every trial. mask is () for all, or
// (trials,) bool: only those indices of the leading axis are written.
#include <cstring>
#include <vector>

#include "ffi/buffers.h"
#include "ffi/registry.h"

namespace spikexla {
namespace {

struct Fill {
  char* to;
  const char *from, *value;
  int64_t bytes, value_bytes, row_bytes;  // row: one index of the leading axis
};

// Repeats `value` over to[first, first + n), in phase with the start of the buffer.
void repeat(const Fill& f, int64_t first, int64_t n) {
  if (f.value_bytes == f.bytes) {
    std::memcpy(f.to + first, f.value + first, n);
  } else if (f.value_bytes == 4 && first % 4 == 0 && n % 4 == 0) {
    uint32_t word;
    std::memcpy(&word, f.value, 4);
    uint32_t* to = reinterpret_cast<uint32_t*>(f.to + first);
    for (int64_t k = 0; k < n / 4; ++k) to[k] = word;
  } else {
    for (int64_t at = first; at < first + n;) {
      const int64_t phase = at % f.value_bytes;
      const int64_t step = std::min(f.value_bytes - phase, first + n - at);
      std::memcpy(f.to + at, f.value + phase, step);
      at += step;
    }
  }
}

void run(const Fill& f, const bool* mask, int64_t first, int64_t last) {
  if (mask == nullptr) return repeat(f, first, last - first);
  for (int64_t at = first; at < last;) {
    const int64_t row = at / f.row_bytes, end = std::min(last, (row + 1) * f.row_bytes);
    if (mask[row]) repeat(f, at, end - at);
    else if (f.from != f.to) std::memcpy(f.to + at, f.from + at, end - at);
    at = end;
  }
}

ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  constexpr int64_t kChunk = 1 << 18;
  const size_t n = rets.size();
  if (args.size() != 2 * n + 1) return invalid("reset: give one value a buffer, and a mask");
  const ffi::AnyBuffer mask = *args.get<ffi::AnyBuffer>(2 * n);
  const bool masked = mask.dimensions().size() == 1;
  std::vector<Fill> fills(n);
  std::vector<int64_t> tasks = {0};  // running sum of the chunks of each buffer
  for (size_t k = 0; k < n; ++k) {
    const ffi::AnyBuffer from = *args.get<ffi::AnyBuffer>(k),
                         value = *args.get<ffi::AnyBuffer>(n + k);
    ffi::AnyBuffer to = **rets.get<ffi::AnyBuffer>(k);
    const int64_t bytes = to.size_bytes(), value_bytes = value.size_bytes();
    if (from.size_bytes() != to.size_bytes() || value.element_type() != to.element_type() ||
        (bytes > 0 && (value_bytes == 0 || bytes % value_bytes != 0)))
      return invalid("reset: value " + std::to_string(k) + " does not fit " + describe(to));
    int64_t rows = 1;
    if (masked) {
      rows = to.dimensions().size() ? to.dimensions()[0] : 0;
      if (rows != int64_t(mask.element_count()))
        return invalid("reset: mask " + describe(mask) + " does not fit " + describe(to));
    }
    fills[k] = {reinterpret_cast<char*>(to.untyped_data()),
                reinterpret_cast<const char*>(from.untyped_data()),
                reinterpret_cast<const char*>(value.untyped_data()),
                bytes,
                value_bytes,
                rows ? bytes / rows : 0};
    tasks.push_back(tasks.back() + (bytes + kChunk - 1) / kChunk);
  }
  const bool* keep = masked ? reinterpret_cast<const bool*>(mask.untyped_data()) : nullptr;
  int64_t all = 0;
  for (const Fill& f : fills) all += f.bytes;
  const int64_t helpers = all < 4 * kChunk ? 0 : pool.num_threads();
  parallel_for(pool, tasks.back(), helpers, [&](int64_t task) {
    const size_t k = std::upper_bound(tasks.begin(), tasks.end(), task) - tasks.begin() - 1;
    const int64_t first = (task - tasks[k]) * kChunk;
    run(fills[k], keep, first, std::min(fills[k].bytes, first + kChunk));
  });
  return ffi::Error::Success();
}

XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound =
      ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets().To(handle).release();
  return bound->Call(frame);
}

}  // namespace

void add_reset_kernels(std::vector<Kernel>& kernels) {
  kernels.push_back(
      {"spikexla.reset.v1", "cpu", "", "", "", "", reinterpret_cast<void*>(&handler)});
}

}  // namespace spikexla
