// The Python module: the list of handlers, the machine's choices, and the connectivity builders.
#include <cstdlib>  // defines __GLIBC__
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "connect_module.h"
#include "cpu/dispatch.h"
#include "kept_module.h"
#include "kernel_rows.h"
#include "levels_module.h"
#include "raster_module.h"
#include "rows_module.h"
#include "states_module.h"
#include "wiring_module.h"
#include "xla/ffi/api/c_api.h"

namespace nb = nanobind;

namespace {

// Large arrays from the heap, and nothing given back to the system. False: no such switch.
bool keep_memory() {
#if defined(__GLIBC__)
  return mallopt(M_MMAP_MAX, 0) && mallopt(M_TRIM_THRESHOLD, -1) && mallopt(M_TOP_PAD, 1 << 26);
#else
  return false;
#endif
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels of spikexla.";
  m.attr("ffi_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.def("simd_level", [] { return std::string(spikexla::abi::table().level); });
  m.def("simd_levels", [] {
    std::vector<std::string> names;
    for (const auto* t : spikexla::abi::compiled_levels()) names.emplace_back(t->level);
    return names;
  });
  m.def("set_thread_limit", &spikexla::abi::set_thread_limit, nb::arg("threads"));
  m.def("thread_limit", &spikexla::abi::thread_limit);
  m.def("keep_memory", &keep_memory);
  add_builders(m);
  add_kept(m);
  add_levels(m);
  add_raster(m);
  add_rows(m);
  add_states(m);
  add_wiring(m);
  m.def("kernels", [] {
    std::vector<spikexla::Kernel> kernels;
    spikexla::add_neuron_kernels(kernels);
    spikexla::add_spike_matvec_kernels(kernels);
    spikexla::add_network_kernels(kernels);
    spikexla::add_reset_kernels(kernels);
    return spikexla::kernel_rows(kernels);
  });
}
