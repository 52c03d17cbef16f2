// The cheap form of a step, which a model may offer beside its own (models/lif.h):
//
//   step<true>                          for parameters and inputs that are easy: the same bits
//   is_easy(params, inputs)             whether they are
//   is_easy_up_to(params, largest_G)    whether they are for every conductance of at most this size
//   kAlwaysEasy                         whether they always are
//
// A model without these has one form.
#pragma once

#include <type_traits>

#include "portable.h"

SPIKEXLA_BEGIN

namespace cpu {

template <class Model, class = void>
inline constexpr bool has_easy = false;
template <class Model>
inline constexpr bool has_easy<Model, std::void_t<decltype(Model::kAlwaysEasy)>> = true;

template <class Model>
constexpr bool is_always_easy() {
  if constexpr (has_easy<Model>) return Model::kAlwaysEasy;
  else return true;
}

template <class Model, bool kEasy, class T, class State, class Params, class Inputs>
SPIKEXLA_HD T take_step(State& s, const Params& p, const Inputs& x, bool hard) {
  if constexpr (has_easy<Model>) return Model::template step<kEasy>(s, p, x, hard);
  else return Model::step(s, p, x, hard);
}

template <class Model, class Params, class Inputs>
SPIKEXLA_HD bool is_easy(const Params& p, const Inputs& x) {
  if constexpr (has_easy<Model>) return Model::is_easy(p, x);
  else return true;
}

template <class Model, class Params, class T>
SPIKEXLA_HD bool is_easy_up_to(const Params& p, T largest_G) {
  if constexpr (has_easy<Model>) return Model::is_easy_up_to(p, largest_G);
  else return true;
}

}  // namespace cpu

SPIKEXLA_END
