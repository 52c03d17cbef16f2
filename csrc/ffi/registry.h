// What the library says of itself: one row for each XLA handler.
#pragma once

#include <string>
#include <vector>

namespace spikexla {

struct Kernel {
  std::string name;                   // the XLA target, with its version: "spikexla.lif.forward.v1"
  std::string platform;               // "cpu" or "CUDA"
  std::string model;                  // of a neuron kernel, else empty
  std::string state, params, inputs;  // its field names, blank-separated, in order
  void* handler;
};

void add_neuron_kernels(std::vector<Kernel>& kernels);
void add_spike_matvec_kernels(std::vector<Kernel>& kernels);
void add_network_kernels(std::vector<Kernel>& kernels);
void add_reset_kernels(std::vector<Kernel>& kernels);

}  // namespace spikexla
