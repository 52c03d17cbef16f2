// The CUDA handlers as a plain library for the host: tests/test_cuda_on_host.py builds it.
#include "ffi/registry.h"
#include "portable.h"

SPIKEXLA_BEGIN
namespace cuda {
extern unsigned char shared[];
unsigned char shared[48 << 10] __attribute__((aligned(16)));
}  // namespace cuda
SPIKEXLA_END

namespace {

const std::vector<spikexla::Kernel>& kernels() {
  static const std::vector<spikexla::Kernel> all = [] {
    std::vector<spikexla::Kernel> list;
    spikexla::add_neuron_kernels(list);
    spikexla::add_reset_kernels(list);
    spikexla::add_spike_matvec_kernels(list);
    return list;
  }();
  return all;
}

}  // namespace

// Read with ctypes: the name and the handler of row k, or null behind the last.
extern "C" const char* host_kernel_name(int k) {
  return k < int(kernels().size()) ? kernels()[k].name.c_str() : nullptr;
}
extern "C" void* host_kernel_handler(int k) { return kernels()[k].handler; }
