// How the operands of a sparse product line up: leading batch axes, and what is behind them.
#pragma once

#include <vector>

#include "ffi/buffers.h"

namespace spikexla {

// One operand: its elements without the leading axes, and the step along each of these.
struct Operand {
  const ffi::AnyBuffer* buffer;
  std::vector<int64_t> strides;
  int64_t size = 1;
};

// The leading axes that all arrays of a call share.
class Batch {
 public:
  explicit Batch(int64_t rank) : dims_(rank, 1) {}

  // `axes` trailing axes belong to the array itself.
  bool add(const ffi::AnyBuffer& b, int64_t axes, Operand* o) {
    const auto d = b.dimensions();
    if (int64_t(d.size()) != int64_t(dims_.size()) + axes) return false;
    o->strides.assign(dims_.size(), 0);
    o->size = 1;
    for (size_t k = dims_.size(); k < d.size(); ++k) o->size *= d[k];
    int64_t stride = o->size;
    for (int64_t k = int64_t(dims_.size()) - 1; k >= 0; --k) {
      if (d[k] != 1 && dims_[k] != 1 && d[k] != dims_[k]) return false;
      if (d[k] != 1) {
        dims_[k] = d[k];
        o->strides[k] = stride;
      }
      stride *= d[k];
    }
    o->buffer = &b;
    return true;
  }

  const std::vector<int64_t>& dims() const { return dims_; }
  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : dims_) n *= d;
    return n;
  }

  template <class T>
  T* at(const Operand& o, int64_t item) const {
    int64_t offset = 0;
    for (int64_t k = int64_t(dims_.size()) - 1; k >= 0; --k) {
      offset += item % dims_[k] * o.strides[k];
      item /= dims_[k];
    }
    return reinterpret_cast<T*>(o.buffer->untyped_data()) + offset;
  }

  // Whether `item` is the first that lands where it lands in `o`.
  bool first_of(const Operand& o, int64_t item) const {
    for (int64_t k = int64_t(dims_.size()) - 1; k >= 0; --k) {
      if (o.strides[k] == 0 && item % dims_[k] != 0) return false;
      item /= dims_[k];
    }
    return true;
  }

 private:
  std::vector<int64_t> dims_;
};

// indptr and indices.
struct Rows {
  Operand indptr, indices;
  int64_t n_pre = 0, fan = 0;
  bool large = false;

  bool read(Batch& batch, const ffi::AnyBuffer& begins, const ffi::AnyBuffer& targets) {
    const auto d = targets.dimensions();
    const int64_t rank = int64_t(begins.dimensions().size()) - 1;
    const int64_t axes = int64_t(d.size()) - rank;
    if (rank < 0 || (axes != 1 && axes != 2)) return false;
    if (!batch.add(begins, 1, &indptr) || !batch.add(targets, axes, &indices)) return false;
    large = begins.element_type() == ffi::S64;
    if (axes == 2) {
      n_pre = d[rank];
      fan = d[rank + 1];
    } else {
      n_pre = indptr.size - 1;
    }
    return n_pre >= 0 && targets.element_type() == ffi::S32 &&
           (large || begins.element_type() == ffi::S32);
  }

  abi::RowsView at(const Batch& batch, int64_t item) const {
    const bool varied = indptr.size > 0 && fan == 0;
    return {varied && !large ? batch.at<const int32_t>(indptr, item) : nullptr,
            varied && large ? batch.at<const int64_t>(indptr, item) : nullptr, fan, indices.size,
            batch.at<const int32_t>(indices, item)};
  }
};

}  // namespace spikexla
