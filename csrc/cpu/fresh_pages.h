// Large results lie in memory that the process has never touched: glibc's malloc returns arrays
// of 32 MiB and more to the system when they are freed. The first store to each page then costs a
// fault in which the kernel zeroes it, which takes longer than the arithmetic. So: huge pages, one
// fault for each, taken by one thread, shortly before the page is written.
#pragma once

#include <cstring>

#include "cpu/table.h"
#include "portable.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

SPIKEXLA_BEGIN

inline constexpr int64_t kHugePage = int64_t{1} << 21;
// malloc's threshold for giving memory back adapts, and never beyond this.
inline constexpr int64_t kAlwaysFresh = int64_t{32} << 20;

// Asks for huge pages under a large result before it is first written.
inline void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  const uintptr_t page = kHugePage;
  const uintptr_t from = (reinterpret_cast<uintptr_t>(data) + page - 1) & ~(page - 1);
  const uintptr_t to = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(page - 1);
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Faults in the huge pages of a result ahead of its writers. Writers that walk through neighbouring
// lanes in step would all fault in the same page, and the kernel zero it once for each of them; so
// they take turns.
class PageFront {
 public:
  explicit PageFront(const abi::PageTurns& turns) : turns_(turns) {}

  // The bytes [from, to) are about to be written.
  void reach(const void* from, const void* to) {
#if defined(MADV_POPULATE_WRITE)
    if (turns_.of == 0) return;
    const uintptr_t end = reinterpret_cast<uintptr_t>(to);
    uintptr_t page = reinterpret_cast<uintptr_t>(from) / kHugePage;
    for (page = page < next_ ? next_ : page; page * kHugePage < end; ++page) {
      if (page % turns_.of == uintptr_t(turns_.turn)) populate(page);
      next_ = page + 1;
    }
#else
    (void)from, (void)to;
#endif
  }

 private:
#if defined(MADV_POPULATE_WRITE)
  void populate(uintptr_t page) const {
    char* at = reinterpret_cast<char*>(page * kHugePage);
    // The partial pages at both ends are small, and shared with other arrays: not ours to touch.
    if (at >= turns_.begin && at + kHugePage <= turns_.end)
      madvise(at, kHugePage, MADV_POPULATE_WRITE);  // older kernels refuse: the stores fault then
  }
#endif

  abi::PageTurns turns_;
  uintptr_t next_ = 0;
};

// Copies to memory that nobody reads soon, past the caches: a store that goes through them reads
// the line first. Call `past_cache_done` before the result is handed on.
template <class T>
inline void store_past_cache(T* to, const T* from, int64_t n) {
#if defined(__AVX512F__)
  using Wide = __m512i;
  const auto stream = [](T* to, const T* from) {
    _mm512_stream_si512(reinterpret_cast<Wide*>(to), _mm512_loadu_si512(from));
  };
#elif defined(__SSE2__)
  using Wide = __m128i;
  const auto stream = [](T* to, const T* from) {
    _mm_stream_si128(reinterpret_cast<Wide*>(to),
                     _mm_loadu_si128(reinterpret_cast<const Wide*>(from)));
  };
#else
  using Wide = T;
  const auto stream = [](T* to, const T* from) { *to = *from; };
#endif
  constexpr int64_t kWide = sizeof(Wide) / sizeof(T);
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % sizeof(Wide) != 0; ++i) to[i] = from[i];
  for (; i + kWide <= n; i += kWide) stream(to + i, from + i);
  for (; i < n; ++i) to[i] = from[i];
}

inline void past_cache_done() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

SPIKEXLA_END
