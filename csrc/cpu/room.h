// Memory that a kernel works in beside its arrays.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

namespace spikexla {

// a b of two sizes that are not negative; the largest number if that is larger.
inline int64_t times(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

// Parts of `size` that cover `n`, without an overflow at the largest size.
constexpr int64_t ceil_div(int64_t n, int64_t size) { return n == 0 ? 0 : (n - 1) / size + 1; }

// Says how much was asked for.
class NoRoom final : public std::bad_alloc {
 public:
  explicit NoRoom(int64_t bytes) : bytes_(bytes) {}
  int64_t bytes() const { return bytes_; }
  const char* what() const noexcept override { return "no room to work in"; }

 private:
  int64_t bytes_;
};

// Bytes that this machine can still hand out, or the largest number where nobody says. An
// allocation alone does not tell: the system promises more than it has, and ends the process that
// takes it at its word.
inline int64_t available_memory() {
  int64_t kilobytes = -1;
  if (std::FILE* file = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    long long found;
    while (kilobytes < 0 && std::fgets(line, sizeof line, file))
      if (std::sscanf(line, "MemAvailable: %lld kB", &found) == 1) kilobytes = found;
    std::fclose(file);
  }
  return kilobytes < 0 ? INT64_MAX : times(kilobytes, 1024);
}

// `count` numbers as memory comes, not zeroed, given back with this object. NoRoom if they do not
// fit.
template <class T>
class Room {
 public:
  explicit Room(int64_t count) {
    constexpr int64_t kMuch = int64_t{1} << 28;  // bytes from which on it is worth asking
    const int64_t bytes = times(count, sizeof(T));
    if (bytes > kMuch && bytes > available_memory()) throw NoRoom(bytes);
    at_.reset(static_cast<T*>(std::malloc(size_t(bytes))));
    if (!at_ && bytes > 0) throw NoRoom(bytes);
  }
  T* data() const { return at_.get(); }

 private:
  struct Free {
    void operator()(T* at) const { std::free(at); }
  };
  std::unique_ptr<T, Free> at_;
};

// Makes a list at least so long; NoRoom if it does not fit.
template <class List>
void lengthen(List& list, int64_t size) {
  if (int64_t(list.size()) >= size) return;
  try {
    list.resize(size_t(size));
  } catch (const std::exception&) {  // bad_alloc or length_error
    throw NoRoom(times(size, sizeof(list[0])));
  }
}

}  // namespace spikexla
