// The CPU's handlers of neurons and networks as a plain library: tests/other_models.py builds it
// with models that are not of the package.
#include "cpu/dispatch.h"
#include "ffi/registry.h"

namespace spikexla::abi {
const Table* table_avx2() { return table_baseline(); }
const Table* table_avx512() { return table_baseline(); }
}  // namespace spikexla::abi

namespace {

const std::vector<spikexla::Kernel>& kernels() {
  static const std::vector<spikexla::Kernel> all = [] {
    std::vector<spikexla::Kernel> list;
    spikexla::add_neuron_kernels(list);
    spikexla::add_network_kernels(list);
    return list;
  }();
  return all;
}

}  // namespace

// Read with ctypes: the columns of row k, or null behind the last.
extern "C" const char* kernel_text(int k, int column) {
  if (k >= int(kernels().size())) return nullptr;
  const spikexla::Kernel& row = kernels()[k];
  const std::string* columns[] = {&row.name, &row.model, &row.state, &row.params, &row.inputs};
  return columns[column]->c_str();
}
extern "C" void* kernel_handler(int k) { return kernels()[k].handler; }
