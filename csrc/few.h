// A list of at most N elements that lives on the stack. A call with a microsecond of work cannot
// afford the twenty allocations of its std::vectors, nor to initialise elements that it never uses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <type_traits>

namespace spikexla {

template <class T, size_t N>
class Few {
  static_assert(std::is_trivially_copyable_v<T>, "its memory is copied as bytes");

 public:
  Few() {}
  explicit Few(size_t size) { assign(size, T()); }

  bool push_back(const T& x) {  // false: full
    if (size_ == N) return false;
    new (begin() + size_++) T(x);
    return true;
  }
  void assign(size_t size, const T& x) {
    size_ = 0;
    while (size_ < std::min(size, N)) push_back(x);
  }
  void erase(size_t k) {
    std::copy(begin() + k + 1, end(), begin() + k);
    --size_;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t k) { return begin()[k]; }
  const T& operator[](size_t k) const { return begin()[k]; }
  const T& back() const { return begin()[size_ - 1]; }
  T* begin() { return std::launder(reinterpret_cast<T*>(room_)); }
  T* end() { return begin() + size_; }
  const T* begin() const { return std::launder(reinterpret_cast<const T*>(room_)); }
  const T* end() const { return begin() + size_; }

  template <class Other>
  bool operator==(const Other& other) const {
    return size_ == other.size() && std::equal(begin(), end(), other.begin());
  }

 private:
  alignas(T) std::byte room_[N * sizeof(T)];
  size_t size_ = 0;
};

}  // namespace spikexla
