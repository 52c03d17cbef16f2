// XLA handler of reset: fills many buffers of any type in one call, in place. The arrays are those
// of ffi/reset_operands.h.
#include <cstring>
#include <vector>

#include "ffi/registry.h"
#include "ffi/reset_operands.h"

namespace spikexla {
namespace {

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

ffi::Error fill_all(ffi::ThreadPool& pool, const ResetOperands& o) {
  constexpr int64_t kChunk = 1 << 18;
  std::vector<int64_t> tasks = {0};  // running sum of the chunks of each buffer
  int64_t all = 0;
  for (const Fill& f : o.fills) {
    tasks.push_back(tasks.back() + ceil_div(f.bytes, kChunk));
    all += f.bytes;
  }
  const int64_t helpers = all < 4 * kChunk ? 0 : pool.num_threads();
  parallel_for(pool, tasks.back(), helpers, [&](int64_t task) {
    const size_t k = std::upper_bound(tasks.begin(), tasks.end(), task) - tasks.begin() - 1;
    const int64_t first = (task - tasks[k]) * kChunk;
    run(o.fills[k], o.keep, first, std::min(o.fills[k].bytes, first + kChunk));
  });
  return ffi::Error::Success();
}

ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return guarded("reset", "Free some.", [&] {
    ResetOperands o;
    if (auto error = o.read(args, rets); error.failure()) return error;
    poison(args, rets);
    return fill_all(pool, o);
  });
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
