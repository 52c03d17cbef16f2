// How operands of several shapes line up with one grid of lanes.
//
// Shapes follow numpy: every operand has as many axes as the grid, an axis of size 1 repeats. Axes
// that all operands walk in step are merged, so that the usual case is one long row.
#pragma once

#include <cstdint>

#include "few.h"

namespace spikexla {

inline constexpr size_t kMaxAxes = 16;
using Axes = Few<int64_t, kMaxAxes>;

struct View {
  Axes strides;       // in elements, one a lane axis; 0: repeats
  int64_t time = 0;   // elements from one time step to the next; 0: repeats
  int64_t steps = 1;  // size of the time axis
};

class Lanes {
 public:
  Lanes() = default;
  // `dims` is the shape (*vmap, time, *lanes) of the widest result; `lane_axes` = rank of `lanes`,
  // which is less than that of `dims`.
  template <class Dims>
  Lanes(const Dims& dims, int64_t lane_axes) : lane_axes_(lane_axes) {
    const int64_t time_axis = int64_t(dims.size()) - 1 - lane_axes;
    for (int64_t k = 0; k < int64_t(dims.size()); ++k)
      if (k == time_axis) steps_ = dims[k];
      else fits_ = dims_.push_back(dims[k]) && fits_;
  }

  // Registers an operand; false if its shape does not fit, or has more axes than anybody.
  template <class Dims>
  bool add(const Dims& dims, bool has_time, View* view) const {
    if (!fits_ || int64_t(dims.size()) != int64_t(dims_.size()) + has_time) return false;
    const int64_t time_axis = has_time ? int64_t(dims.size()) - 1 - lane_axes_ : -1;
    view->strides.assign(dims_.size(), 0);
    int64_t stride = 1;
    int64_t lane = int64_t(dims_.size()) - 1;
    for (int64_t k = int64_t(dims.size()) - 1; k >= 0; --k) {
      const int64_t here = dims[k] == 1 ? 0 : stride;
      if (k == time_axis) {
        view->time = here;
        view->steps = dims[k];
      } else {
        if (dims[k] != 1 && dims[k] != dims_[lane]) return false;
        view->strides[lane--] = here;
      }
      if (__builtin_mul_overflow(stride, dims[k], &stride)) return false;
    }
    return true;
  }

  // Merges axes: j and j+1 become one where every view steps over them evenly.
  template <class Views>
  void merge(const Views& views) {
    for (int64_t j = int64_t(dims_.size()) - 1; j >= 0; --j) {
      const bool last = j + 1 == int64_t(dims_.size());
      bool joins = !last;
      for (const View* v : views)
        joins = joins && v->strides[j] == v->strides[j + 1] * dims_[j + 1];
      if (dims_[j] == 1) {
        erase(views, j);
      } else if (joins) {
        for (View* v : views) v->strides[j] = v->strides[j + 1];
        dims_[j] *= dims_[j + 1];
        erase(views, j + 1);
      }
    }
    if (dims_.empty()) {
      dims_.push_back(1);
      for (View* v : views) v->strides.push_back(0);
    }
  }

  int64_t steps() const { return steps_; }
  const Axes& dims() const { return dims_; }
  int64_t row() const { return dims_.back(); }  // lanes along the last axis
  int64_t rows() const {
    int64_t n = 1;
    for (size_t k = 0; k + 1 < dims_.size(); ++k) n *= dims_[k];
    return n;
  }
  int64_t size() const { return rows() * row(); }
  // From one lane of a row to the next, in elements: 1 where they lie side by side, 0 where a value
  // repeats, else the steps of a time axis that lies inside.
  int64_t lane(const View& view) const { return row() == 1 ? 1 : view.strides.back(); }

  // Where lane `lane` of row `row` starts in a view.
  int64_t offset(const View& view, int64_t row, int64_t lane) const {
    int64_t at = lane * view.strides.back();
    for (int64_t k = int64_t(dims_.size()) - 2; k >= 0; --k) {
      at += row % dims_[k] * view.strides[k];
      row /= dims_[k];
    }
    return at;
  }

 private:
  template <class Views>
  void erase(const Views& views, int64_t axis) {
    dims_.erase(axis);
    for (View* v : views) v->strides.erase(axis);
  }

  Axes dims_;
  int64_t lane_axes_ = 0, steps_ = 1;
  bool fits_ = true;
};

}  // namespace spikexla
