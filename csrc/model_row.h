// What a library says of a neuron model, checked where the model is compiled.
#pragma once

#include "cpu/table.h"
#include "fields.h"
#include "pack.h"

SPIKEXLA_BEGIN

template <class Model>
constexpr abi::NeuronRow neuron_row(abi::NeuronLoops<float> f32, abi::NeuronLoops<double> f64) {
  constexpr int S = size_of<typename Model::template State<float>, float>,
                P = size_of<typename Model::template Params<float>, float>,
                X = size_of<typename Model::template Inputs<float>, float>;
  static_assert(S <= abi::kMaxFields && P <= abi::kMaxFields && X <= abi::kMaxFields,
                "a model has more fields of one kind than loops are given: raise kMaxFields");
  static_assert(count_fields(Model::kState) == S && count_fields(Model::kParams) == P &&
                    count_fields(Model::kInputs) == X,
                "kState, kParams and kInputs name the fields of the model, each of them");
  return {Model::kName,
          Model::kState,
          Model::kParams,
          Model::kInputs,
          S,
          P,
          X,
          place_of("I", Model::kInputs),
          place_of("G", Model::kInputs),
          f32,
          f64};
}

SPIKEXLA_END
