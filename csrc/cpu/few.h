// A list of at most N elements that lives on the stack. A call with a microsecond of work cannot
// afford the twenty allocations of its std::vectors.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace spikexla {

template <class T, size_t N>
class Few {
 public:
  Few() = default;
  explicit Few(size_t size) : size_(std::min(size, N)) {}

  bool push_back(const T& x) {  // false: full
    if (size_ == N) return false;
    at_[size_++] = x;
    return true;
  }
  void assign(size_t size, const T& x) {
    size_ = std::min(size, N);
    std::fill(begin(), end(), x);
  }
  void erase(size_t k) {
    std::copy(begin() + k + 1, end(), begin() + k);
    --size_;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t k) { return at_[k]; }
  const T& operator[](size_t k) const { return at_[k]; }
  const T& back() const { return at_[size_ - 1]; }
  T* begin() { return at_.data(); }
  T* end() { return at_.data() + size_; }
  const T* begin() const { return at_.data(); }
  const T* end() const { return at_.data() + size_; }

  template <class Other>
  bool operator==(const Other& other) const {
    return size_ == other.size() && std::equal(begin(), end(), other.begin());
  }

 private:
  std::array<T, N> at_;
  size_t size_ = 0;
};

}  // namespace spikexla
