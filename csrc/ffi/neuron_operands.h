// The arrays of one call of a neuron kernel, checked and lined up with its lanes, on any platform.
//
// forward:  state..., params..., inputs...
//        -> state..., spikes; then checkpoints..., if they are wanted
// backward: checkpoints..., params..., inputs..., d_state..., d_spikes, surrogate operands
//        -> d_state..., d_inputs..., d_params...
//
// state, params: (*vmap, *lanes). inputs, spikes: (*vmap, time, *lanes). checkpoints: (*vmap,
// ceil(time / every), *lanes). Surrogate operands: (*vmap). All are of one type. An axis of size 1
// of an operand repeats, but for the time of checkpoints; results have their shape in full. A
// gradient that nobody wants has 0 elements.
#pragma once

#include <string>

#include "ffi/guarded.h"
#include "lanes.h"
#include "surrogate.h"

namespace spikexla {

// A model's name and the names of its fields, blank-separated, and their numbers.
struct NeuronFields {
  const char *model, *state, *params, *inputs;
  int S, P, X;
};

class NeuronOperands {
 public:
  NeuronOperands(const NeuronFields& of, ffi::RemainingArgs args, ffi::RemainingRets rets,
                 int64_t lane_axes)
      : of_(of), args_(args), rets_(rets), lane_axes_(lane_axes) {}

  // Read everything; an error names the first thing that is wrong.
  ffi::Error read_forward(int64_t every) {
    const int S = of_.S, all = S + of_.P + of_.X;
    backward_ = false;
    const size_t kept = rets_.size() > size_t(S) + 1 ? S : 0;
    if (auto e = begin(all, S + 1 + kept, every); e.failure()) return e;
    if (auto e = set_grid(S, 1); e.failure()) return e;
    keeps_ = kept > 0;
    for (int k = 0; k < all; ++k)
      if (auto e = read_arg(k, k < S + of_.P ? kNoTime : kTime); e.failure()) return e;
    for (int k = 0; k < int(rets_.size()); ++k)
      if (auto e = read_ret(k, k < S ? kNoTime : k == S ? kTime : kSegments); e.failure()) return e;
    return ffi::Error::Success();
  }

  ffi::Error read_backward(int64_t every, int32_t surrogate) {
    const int S = of_.S, P = of_.P, X = of_.X, state = S + P + X, spikes = state + S;
    backward_ = true;
    if (auto e = begin(spikes + 3, S + X + P, every); e.failure()) return e;
    constexpr int64_t last = int64_t(std::size(kSurrogates)) - 1;
    if (auto e = in_range("surrogate", surrogate, 0, last); e.failure()) return e;
    // The grid comes from a result: under vmap a cotangent of size 1 may stand for all of them.
    if (auto e = set_grid(0, 0); e.failure()) return e;
    const auto dims = arg(spikes).dimensions();
    if (dims.size() != full_.size() + 1)
      return invalid(what() + ": " + name(spikes, false) + " is " + describe(arg(spikes)) +
                     ", must have one axis more, that of time, than " + name(0, true) + " " +
                     describe(ret(0)));
    add_time(dims[full_.size() - size_t(lane_axes_)]);
    for (int k = 0; k < spikes + 1; ++k) {
      const bool timed = k == spikes || (k >= S + P && k < state);
      if (auto e = read_arg(k, k < S ? kSegments : timed ? kTime : kNoTime); e.failure()) return e;
    }
    for (int k = spikes + 1; k < spikes + 3; ++k)
      if (auto e = read_arg(k, kNoLanes); e.failure()) return e;
    for (int k = 0; k < S + X + P; ++k)
      if (k < S || !unwanted(k))
        if (auto e = read_ret(k, k >= S && k < S + X ? kTime : kNoTime); e.failure()) return e;
    return ffi::Error::Success();
  }

  void merge() { lanes_.merge(views_); }

  ffi::AnyBuffer arg(int k) const { return *args_.get<ffi::AnyBuffer>(size_t(k)); }
  ffi::AnyBuffer ret(int k) const { return **rets_.get<ffi::AnyBuffer>(size_t(k)); }
  const View& in(int k) const { return in_[size_t(k)]; }
  const View& out(int k) const { return out_[size_t(k)]; }
  // Whether nobody wants a gradient.
  bool unwanted(int k) const { return ret(k).element_count() == 0; }
  const Lanes& lanes() const { return lanes_; }
  int64_t steps() const { return lanes_.steps(); }
  int64_t every() const { return every_; }  // at most the steps, and at least 1
  bool keeps() const { return keeps_; }     // whether there are checkpoints to write

  std::string what() const {
    return std::string(of_.model) + (backward_ ? " backward" : " forward");
  }

 private:
  enum Kind { kNoTime, kTime, kSegments, kNoLanes };

  // Counts, attributes and the type of all.
  ffi::Error begin(size_t num_args, size_t num_rets, int64_t every) {
    if (args_.size() != num_args || rets_.size() != num_rets)
      return invalid(what() + ": given " + std::to_string(args_.size()) + " arrays and " +
                     std::to_string(rets_.size()) + " results, must be " +
                     std::to_string(num_args) + " and " + std::to_string(num_rets));
    if (auto e = in_range("every", every, 1, INT64_MAX); e.failure()) return e;
    every_ = every;
    if (!is_native_float(arg(0)))
      return invalid(what() + ": " + name(0, false) + " is " + describe(arg(0)) +
                     ", must be float32 or float64");
    type_ = arg(0).element_type();
    in_.assign(num_args, View{});
    out_.assign(num_rets, View{});
    return ffi::Error::Success();
  }

  ffi::Error in_range(const char* attribute, int64_t value, int64_t low, int64_t high) const {
    if (value >= low && value <= high) return ffi::Error::Success();
    return out_of_range(what(), attribute, value, low, high);
  }

  // The lanes, from result k, which has `times` axes of time.
  ffi::Error set_grid(int k, int64_t times) {
    const auto dims = ret(k).dimensions();
    const int64_t rank = int64_t(dims.size()) - times;
    if (rank < 0 || rank > int64_t(kMaxAxes))
      return invalid(what() + ": " + name(k, true) + " is " + describe(ret(k)) + ", must have " +
                     (times ? "an axis of time and " : "") + "at most " + std::to_string(kMaxAxes) +
                     " axes of lanes, those of vmap included");
    if (auto e = in_range("lane_axes", lane_axes_, 0, rank); e.failure()) return e;
    for (int64_t j = 0; j < int64_t(dims.size()); ++j)
      if (times == 0 || j != rank - lane_axes_) full_.push_back(dims[size_t(j)]);
    if (times) add_time(dims[size_t(rank - lane_axes_)]);
    return ffi::Error::Success();
  }

  void add_time(int64_t steps) {
    time_axis_ = full_.size() - size_t(lane_axes_);
    segments_ = ceil_div(steps, every_);
    every_ = std::min(every_, std::max<int64_t>(1, steps));
    lanes_ = Lanes(right(kTime, steps), lane_axes_);
  }

  // The full shape of an array of this kind.
  using Dims = Few<int64_t, kMaxAxes + 1>;
  Dims right(Kind kind, int64_t steps) const {
    Dims dims;
    for (size_t k = 0; k <= full_.size(); ++k) {
      if (k == time_axis_ && kind == kTime) dims.push_back(steps);
      if (k == time_axis_ && kind == kSegments) dims.push_back(segments_);
      if (k < full_.size() && (k < time_axis_ || kind != kNoLanes)) dims.push_back(full_[k]);
    }
    return dims;
  }

  ffi::Error read_arg(int k, Kind kind) {
    const ffi::AnyBuffer b = arg(k);
    View* view = &in_[size_t(k)];
    bool fits = b.element_type() == type_;
    if (kind == kNoLanes) {
      Axes dims;
      for (const int64_t d : b.dimensions()) fits = dims.push_back(d) && fits;
      fits = fits && dims.size() == time_axis_;
      for (int64_t j = 0; j < lane_axes_; ++j) dims.push_back(1);
      fits = fits && lanes_.add(dims, false, view);
    } else {
      fits = fits && lanes_.add(b.dimensions(), kind != kNoTime, view);
      if (kind == kTime) fits = fits && (view->steps == 1 || view->steps == steps());
      if (kind == kSegments) fits = fits && view->steps == segments_;
    }
    if (!fits) return wrong(b, name(k, false), kind, ", where an axis of size 1 repeats");
    views_.push_back(view);
    return ffi::Error::Success();
  }

  ffi::Error read_ret(int k, Kind kind) {
    const ffi::AnyBuffer b = ret(k);
    View* view = &out_[size_t(k)];
    if (b.element_type() != type_ || !has_shape(b, right(kind, steps())) ||
        !lanes_.add(b.dimensions(), kind != kNoTime, view))
      return wrong(b, name(k, true), kind);
    views_.push_back(view);
    return ffi::Error::Success();
  }

  ffi::Error wrong(const ffi::AnyBuffer& b, const std::string& whose, Kind kind,
                   const char* rule = "") const {
    return invalid(what() + ": " + whose + " is " + describe(b) + ", must be " + type_name(type_) +
                   " " + shape(right(kind, steps())) + rule);
  }

  // What array k of the arguments or results is called.
  std::string name(int k, bool result) const {
    struct Part {
      const char *role, *fields;
      int count;
    };
    const Part state{"the state ", of_.state, of_.S}, params{"the parameter ", of_.params, of_.P};
    const Part inputs{"the input ", of_.inputs, of_.X}, kept{"the checkpoint ", of_.state, of_.S};
    const Part spikes{"the spikes", "", 1}, operands{"a surrogate operand", "", 2};
    const Part d_state{"the gradient of the state ", of_.state, of_.S};
    const Part d_spikes{"the gradient of the spikes", "", 1};
    const Part d_inputs{"the gradient of the input ", of_.inputs, of_.X};
    const Part d_params{"the gradient of the parameter ", of_.params, of_.P};
    const Part lists[4][6] = {{state, params, inputs},
                              {kept, params, inputs, d_state, d_spikes, operands},
                              {{"the new state ", of_.state, of_.S}, spikes, kept},
                              {d_state, d_inputs, d_params}};
    for (const Part& p : lists[2 * result + backward_]) {
      if (k < p.count) return p.role + word(p.fields, k);
      k -= p.count;
    }
    return "an array too many";
  }
  static std::string word(const std::string& words, int k) {
    size_t from = 0;
    for (; k > 0; --k) from = words.find(' ', from) + 1;
    return words.substr(from, words.find(' ', from) - from);
  }

  static constexpr size_t kMost = 5 * abi::kMaxFields;  // state, parameters, inputs, gradients
  const NeuronFields of_;
  const ffi::RemainingArgs args_;
  const ffi::RemainingRets rets_;
  const int64_t lane_axes_;
  bool backward_ = false, keeps_ = false;
  ffi::DataType type_ = ffi::DataType::INVALID;
  int64_t every_ = 1, segments_ = 0;
  Axes full_;  // (*vmap, *lanes), cut by time before axis `time_axis_`
  size_t time_axis_ = 0;
  Lanes lanes_;
  Few<View, kMost> in_, out_;
  Few<View*, 2 * kMost> views_;
};

}  // namespace spikexla
