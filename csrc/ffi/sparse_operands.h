// How the operands of the sparse products line up, on every platform.
//
// forward      [init], indptr, indices, weights, spikes -> y
// spikes_vjp   indptr, indices, weights, dy             -> d_spikes
// weights_vjp  indptr, indices, spikes, dy              -> d_weights
//
// All arrays carry the same number of leading (batch) axes, of size 1 where they repeat. After
// these: indptr (n_pre + 1), or (0) if indices is (n_pre, fan) and not (nnz); weights like indices,
// or one value; spikes and d_spikes (n_pre); y, init and dy (n_post). A d_weights that repeats is
// summed; y, init and d_spikes do not repeat.
#pragma once

#include <algorithm>
#include <vector>

#include "ffi/guarded.h"

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
    for (size_t k = dims_.size(); k < d.size(); ++k) o->size = times(o->size, d[k]);
    int64_t stride = o->size;
    for (int64_t k = int64_t(dims_.size()) - 1; k >= 0; --k) {
      if (d[k] != 1 && dims_[k] != 1 && d[k] != dims_[k]) return false;
      if (d[k] != 1) {
        dims_[k] = d[k];
        o->strides[k] = stride;
      }
      stride = times(stride, d[k]);
    }
    o->data = b.untyped_data();
    return true;
  }

  // Whether an operand has all axes that others have: each item a place of its own.
  bool whole(const Operand& o) const {
    for (size_t k = 0; k < dims_.size(); ++k)
      if (dims_[k] != 1 && o.strides[k] == 0 && o.size != 0) return false;
    return true;
  }

  const std::vector<int64_t>& dims() const { return dims_; }
  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : dims_) n = times(n, d);
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
  bool large = false, ragged = false;  // indptr is int64; rows differ in length

  bool read(Batch& batch, const ffi::AnyBuffer& begins, const ffi::AnyBuffer& targets) {
    const auto d = targets.dimensions();
    const int64_t rank = int64_t(begins.dimensions().size()) - 1;
    const int64_t axes = int64_t(d.size()) - rank;
    if (rank < 0 || (axes != 1 && axes != 2)) return false;
    if (!batch.add(begins, 1, &indptr) || !batch.add(targets, axes, &indices)) return false;
    large = begins.element_type() == ffi::S64;
    ragged = axes == 1;
    if (!ragged && indptr.size != 0) return false;
    n_pre = ragged ? indptr.size - 1 : d[rank];
    fan = ragged ? 0 : d[rank + 1];
    return n_pre >= 0 && n_pre <= INT32_MAX && targets.element_type() == ffi::S32 &&
           (large || begins.element_type() == ffi::S32);
  }

  abi::RowsView at(const Batch& batch, int64_t item) const {
    return {ragged && !large ? batch.at<const int32_t>(indptr, item) : nullptr,
            ragged && large ? batch.at<const int64_t>(indptr, item) : nullptr, fan, indices.size,
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
    fits = t.dimensions().size() > 0 && is_native_float(t) && rows.read(batch, begins, indices) &&
           batch.add(w, axes, &weights) && batch.add(v, 1, &values) && batch.add(t, 1, &targets) &&
           values.size == rows.n_pre && (!per_synapse || like_indices(w, indices)) &&
           targets.size <= INT32_MAX && w.element_type() == t.element_type() &&
           (events_only || v.element_type() == t.element_type());
  }

 private:
  // Whether the axes behind those of the batch are the same.
  bool like_indices(const ffi::AnyBuffer& w, const ffi::AnyBuffer& indices) const {
    const auto a = w.dimensions(), b = indices.dimensions();
    const auto lead = int64_t(batch.dims().size());
    return a.size() == b.size() && std::equal(a.begin() + lead, a.end(), b.begin() + lead);
  }
};

using Names = std::initializer_list<const char*>;

// The complaint that arrays do not fit together: all that was given, and the rule.
inline ffi::Error misfit(Names names, const std::vector<ffi::AnyBuffer>& given) {
  std::string text = "spike_matvec: given";
  auto name = names.begin();
  for (const ffi::AnyBuffer& b : given)
    text += std::string(text.back() == 'n' ? " " : ", ") + *name++ + " " + describe(b);
  return invalid(
      text +
      "; must be, behind batch axes that agree or are 1: indptr int32 or int64 (n_pre + 1,) with "
      "indices int32 (synapses,), or indptr (0,) with indices (n_pre, fan); weights like indices "
      "or (); spikes (n_pre,); y, init and dy (n_post,); floats all float32 or all float64, spikes "
      "also bool. y, init and d_spikes have every batch axis in full");
}

inline std::vector<ffi::AnyBuffer> all_arrays(const ffi::RemainingArgs& args,
                                              const ffi::RemainingRets& rets) {
  std::vector<ffi::AnyBuffer> all;
  for (size_t k = 0; k < args.size(); ++k) all.push_back(*args.get<ffi::AnyBuffer>(k));
  for (size_t k = 0; k < rets.size(); ++k) all.push_back(**rets.get<ffi::AnyBuffer>(k));
  return all;
}

inline ffi::Error wrong_number(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets,
                               const char* right) {
  return invalid("spike_matvec: given " + std::to_string(args.size()) + " arrays and " +
                 std::to_string(rets.size()) + " results, must be " + right);
}

// Whether y may start as `init` is.
inline bool alike(const ffi::AnyBuffer& init, const ffi::AnyBuffer& y) {
  return init.element_type() == y.element_type() && has_shape(init, y.dimensions());
}

// What the three products take, read and checked; `error` says what is wrong.
struct ForwardCall {
  bool has_init;
  std::vector<ffi::AnyBuffer> all;
  SparseOperands o;
  ffi::Error error;

  // Only with the right number of arrays.
  ForwardCall(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets)
      : has_init(args.size() == 5),
        all(all_arrays(args, rets)),
        o(all[has_init], all[has_init + 1], all[has_init + 2], all[has_init + 3], all.back()) {
    if (o.fits && o.batch.whole(o.targets) && (!has_init || alike(all[0], all.back()))) return;
    error = has_init ? misfit({"init", "indptr", "indices", "weights", "spikes", "y"}, all)
                     : misfit({"indptr", "indices", "weights", "spikes", "y"}, all);
  }
  static ffi::Error check_number(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets) {
    const bool right = (args.size() == 4 || args.size() == 5) && rets.size() == 1;
    return right ? ffi::Error::Success() : wrong_number(args, rets, "4 or 5 and 1");
  }
  ffi::AnyBuffer y() const { return all.back(); }
};

struct TransposedCall {
  std::vector<ffi::AnyBuffer> all;
  SparseOperands o;
  ffi::Error error;

  // spikes_vjp: indptr, indices, weights, dy -> d_spikes;  weights_vjp: ..., spikes, dy ->
  // d_weights
  TransposedCall(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets, bool of_weights)
      : all(all_arrays(args, rets)),
        o(all[0], all[1], all[of_weights ? 4 : 2], all[of_weights ? 2 : 4], all[3]) {
    if (o.fits && !o.events_only && (of_weights || o.batch.whole(o.values))) return;
    error = of_weights ? misfit({"indptr", "indices", "spikes", "dy", "d_weights"}, all)
                       : misfit({"indptr", "indices", "weights", "dy", "d_spikes"}, all);
  }
  static ffi::Error check_number(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets) {
    const bool right = args.size() == 4 && rets.size() == 1;
    return right ? ffi::Error::Success() : wrong_number(args, rets, "4 and 1");
  }
  ffi::AnyBuffer result() const { return all.back(); }
};

}  // namespace spikexla
