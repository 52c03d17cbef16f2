// The CUDA handlers as a plain library for the host: tests/test_cuda_on_host.py builds it.
#include <cstdlib>
#include <utility>

#include "ffi/registry.h"
#include "portable.h"
#include "xla/ffi/api/c_api.h"

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
    spikexla::add_network_kernels(list);
    spikexla::add_reset_kernels(list);
    spikexla::add_spike_matvec_kernels(list);
    return list;
  }();
  return all;
}

XLA_FFI_Error* allocate(XLA_FFI_DeviceMemory_Allocate_Args* args) {
  return args->data = std::aligned_alloc(64, (args->size + 63) / 64 * 64), nullptr;
}
XLA_FFI_Error* deallocate(XLA_FFI_DeviceMemory_Free_Args* args) {
  return std::free(args->data), nullptr;
}

// Handler K with memory of its own, which XLA lends to handlers of a GPU only.
template <int K>
XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  const auto real = reinterpret_cast<XLA_FFI_Handler*>(kernels()[K].handler);
  const XLA_FFI_Api* const api = frame->api;
  if (api == nullptr) return real(frame);
  XLA_FFI_Api with_memory = *api;
  with_memory.XLA_FFI_DeviceMemory_Allocate = &allocate;
  with_memory.XLA_FFI_DeviceMemory_Free = &deallocate;
  frame->api = &with_memory;
  XLA_FFI_Error* const error = real(frame);
  frame->api = api;
  return error;
}

constexpr int kMost = 64;  // handlers that fit into this library

template <size_t... K>
XLA_FFI_Handler* pick(int k, std::index_sequence<K...>) {
  static constexpr XLA_FFI_Handler* all[] = {&handler<K>...};
  return all[k];
}

}  // namespace

// Read with ctypes: the name and the handler of row k, or null behind the last.
extern "C" const char* host_kernel_name(int k) {
  return k < int(kernels().size()) && k < kMost ? kernels()[k].name.c_str() : nullptr;
}
extern "C" void* host_kernel_handler(int k) {
  return reinterpret_cast<void*>(pick(k, std::make_index_sequence<kMost>{}));
}
