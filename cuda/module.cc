// The Python module of the CUDA kernels: the list of their handlers, as csrc/module.cc has it for
// the CPU. It can be imported on a machine without a GPU or a driver: nothing here calls CUDA.
#include <nanobind/nanobind.h>

#include "kernel_rows.h"
#include "xla/ffi/api/c_api.h"

namespace nb = nanobind;

NB_MODULE(_native_cuda, m) {
  m.doc() = "Compiled CUDA kernels of spikexla.";
  m.attr("ffi_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.def("kernels", [] {
    std::vector<spikexla::Kernel> kernels;
    spikexla::add_neuron_kernels(kernels);
    spikexla::add_network_kernels(kernels);
    spikexla::add_reset_kernels(kernels);
    spikexla::add_spike_matvec_kernels(kernels);
    return spikexla::kernel_rows(kernels);
  });
}
