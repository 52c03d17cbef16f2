// Every loop of the CPU, compiled once for each SIMD level (SPIKEXLA_ISA names the level).
#include "cpu/neuron.h"
#include "cpu/poisson.h"
#include "cpu/sparse_levels.h"
#include "cpu/synapse.h"
#include "model_row.h"
#include "models.h"

#define SPIKEXLA_STRING(x) #x
#define SPIKEXLA_NAME(x) SPIKEXLA_STRING(x)
#define SPIKEXLA_JOIN(a, b) a##b
#define SPIKEXLA_TABLE(level) SPIKEXLA_JOIN(table_, level)

SPIKEXLA_BEGIN

namespace {

template <class Model, class T>
constexpr spikexla::abi::NeuronLoops<T> loops() {
  return {&cpu::neuron_forward<Model, T>, &cpu::neuron_backward<Model, T>,
          &cpu::neuron_bits<Model, T>};
}

template <class T>
constexpr spikexla::abi::SynapseLoops<T> synapse_loops() {
  return {&cpu::synapse_drive<T>, &cpu::synapse_decay<T>, &cpu::poisson<T>};
}

template <class... M>
const spikexla::abi::Table& make_table(TypeList<M...>) {
  static constexpr spikexla::abi::NeuronRow neurons[] = {
      neuron_row<M>(loops<M, float>(), loops<M, double>())...};
  static constexpr spikexla::abi::Table table = {
      SPIKEXLA_NAME(SPIKEXLA_ISA), neurons,           int(sizeof...(M)), synapse_loops<float>(),
      synapse_loops<double>(),     &cpu::kSparseLoops};
  return table;
}

}  // namespace

SPIKEXLA_END

const spikexla::abi::Table* spikexla::abi::SPIKEXLA_TABLE(SPIKEXLA_ISA)() {
  return &make_table(Models{});
}
