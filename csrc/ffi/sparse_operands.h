// How the operands of the sparse products line up, on every platform.
//
// forward      [init], indptr, indices, weights, spikes -> y
// spikes_vjp   indptr, indices, weights, dy             -> d_spikes
// weights_vjp  indptr, indices, spikes, dy              -> d_weights
//
// All arrays carry the same number of leading (batch) axes, of size 1 where they repeat. After
// these: indptr (n_pre + 1), or (0) if indices is (n_pre, fan) and not (nnz); weights like indices,
// or one value; spikes and d_spikes (n_pre); y, init and dy (n_post). A d_weights that repeats is
// summed.
#pragma once

#include <algorithm>
#include <vector>

#include "ffi/buffers.h"

namespace spikexla {

// One operand: its elements without the leading axes, and the step along each of these.
struct Operand {
  void* data = nullptr;
  std::vector<int64_t> strides;
  int64_t size = 1;
};

// The leading axes that all arrays of a call share.
class Batch {
 public:
  explicit Batch(int64_t rank) : dims_(std::max<int64_t>(0, rank), 1) {}

  // `axes` trailing axes belong to the array itself.
  bool add(const ffi::AnyBuffer& b, int64_t axes, Operand* o) {
    const auto d = b.dimensions();
    if (axes < 0 || int64_t(d.size()) != int64_t(dims_.size()) + axes) return false;
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
    o->data = b.untyped_data();
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
    return static_cast<T*>(o.data) + offset;
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

// The operands of one product. `values` has an element a source: spikes, or d_spikes; `targets`
// one a target: y, or dy. `weights` may be d_weights.
struct SparseOperands {
  Batch batch;
  Rows rows;
  Operand weights, values, targets;
  bool per_synapse;  // weights like indices, and not one value
  bool events_only;  // spikes are bool
  bool fits;

  SparseOperands(const ffi::AnyBuffer& begins, const ffi::AnyBuffer& indices,
                 const ffi::AnyBuffer& w, const ffi::AnyBuffer& v, const ffi::AnyBuffer& t)
      : batch(int64_t(t.dimensions().size()) - 1) {
    const int64_t axes = int64_t(w.dimensions().size()) - int64_t(batch.dims().size());
    per_synapse = axes != 0;
    events_only = v.element_type() == ffi::PRED;
    fits = rows.read(batch, begins, indices) && batch.add(w, axes, &weights) &&
           batch.add(v, 1, &values) && batch.add(t, 1, &targets) && values.size == rows.n_pre &&
           (!per_synapse || weights.size == rows.indices.size) &&
           w.element_type() == t.element_type() &&
           (events_only || v.element_type() == t.element_type());
  }
};

inline ffi::Error misfit(const ffi::AnyBuffer& result) {
  return invalid("spike_matvec: shapes or types do not fit " + describe(result));
}

// Whether y may start as `init` is.
inline bool alike(const ffi::AnyBuffer& init, const ffi::AnyBuffer& y) {
  return init.element_type() == y.element_type() && init.element_count() == y.element_count();
}

}  // namespace spikexla
