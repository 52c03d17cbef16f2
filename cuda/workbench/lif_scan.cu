// Workbench of the LIF scan: the same result in several ways, checked against a plain loop, timed.
//
//   nvcc -std=c++17 -O3 -arch=native --fmad=false -ftz=true -Xcompiler -ffp-contract=off
//        -I csrc -I cuda cuda/workbench/lif_scan.cu -o lif_scan     (one line)
//   ./lif_scan [lanes] [steps]
//
// 1: a launch a step; the state goes through memory, as in step-by-step composition
// 2: the time loop inside the kernel, the state in registers, one read in flight
// 3: as 2, with several steps' inputs read together: cuda/neuron.cuh, what the package runs
//    and its backward pass, with the states kept every 16 steps
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "launch.cuh"
#include "models.h"
#include "neuron.cuh"

using namespace spikexla;
using Params = Lif::Params<float>;

namespace {

const Params kParams{0.1f, 1.0f, -60.0f, -50.0f, -62.0f, 1.0f / 12.0f};

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void one_step(int64_t lanes, const float* V0, const float* I, float* V1, float* z,
                         Params p) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= lanes) return;
  Lif::State<float> s{V0[i]};
  z[i] = Lif::step(s, p, {I[i], 0.0f}, false);
  V1[i] = s.V;
}

__global__ void plain_scan(int64_t lanes, int64_t steps, const float* V0, const float* I, float* V1,
                           float* z, Params p) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= lanes) return;
  Lif::State<float> s{V0[i]};
  for (int64_t t = 0; t < steps; ++t)
    z[t * lanes + i] = Lif::step(s, p, {I[t * lanes + i], 0.0f}, false);
  V1[i] = s.V;
}

// Device memory, freed at the end.
struct Array {
  float* at = nullptr;
  explicit Array(const std::vector<float>& values) {
    check(cudaMalloc(&at, values.size() * sizeof(float)), "cudaMalloc");
    check(cudaMemcpy(at, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice),
          "copy");
  }
  explicit Array(size_t n) : Array(std::vector<float>(n, 0.0f)) {}
  ~Array() { cudaFree(at); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
};

struct Problem {
  int64_t lanes, steps, every = 16;
  std::vector<float> V0, I, V1, z;  // V1 and z by the plain loop

  Problem(int64_t lanes, int64_t steps) : lanes(lanes), steps(steps), V0(lanes), I(lanes * steps) {
    uint32_t seed = 1;
    const auto draw = [&seed] {
      seed = seed * 1664525u + 1013904223u;
      return float(seed >> 8) / float(1 << 24);
    };
    for (float& v : V0) v = -65.0f + 15.0f * draw();
    for (float& i : I) i = -5.0f + 40.0f * draw();
    V1 = V0;
    z.resize(I.size());
    for (int64_t t = 0; t < steps; ++t)
      for (int64_t i = 0; i < lanes; ++i) {
        Lif::State<float> s{V1[i]};
        z[t * lanes + i] = Lif::step(s, kParams, {I[t * lanes + i], 0.0f}, false);
        V1[i] = s.V;
      }
  }
};

void validate(const char* name, const std::vector<float>& want, const float* device) {
  std::vector<float> got(want.size());
  check(cudaMemcpy(got.data(), device, got.size() * sizeof(float), cudaMemcpyDeviceToHost), "copy");
  for (size_t k = 0; k < got.size(); ++k)
    if (got[k] != want[k]) {
      std::fprintf(stderr, "%s: element %zu is %.9g, must be %.9g\n", name, k, got[k], want[k]);
      std::exit(1);
    }
}

// The median of 9 runs, and the bytes that must move over it.
template <class Run>
void measure(const char* name, int threads, double bytes, const Run& run) {
  cudaEvent_t start, stop;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  std::vector<float> times;
  for (int k = 0; k < 11; ++k) {
    float ms = 0;
    cudaEventRecord(start);
    run();
    cudaEventRecord(stop);
    check(cudaEventSynchronize(stop), name);
    check(cudaEventElapsedTime(&ms, start, stop), name);
    if (k < 2) continue;
    size_t at = 0;
    while (at < times.size() && times[at] < ms) ++at;
    times.insert(times.begin() + at, ms);
  }
  const double ms = times[times.size() / 2];
  std::printf("%-28s %4d threads %9.3f ms %8.1f GB/s\n", name, threads, ms, bytes / ms / 1e6);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
}

template <class T>
cuda::Operand<T> rows(T* at, int64_t time) {
  return {at, time, {1}};
}

// Everything on the device.
struct Buffers {
  int64_t kept;
  Array V0, I, V1, z, checkpoints, dI, dV, zero, params;
  explicit Buffers(const Problem& p)
      : kept((p.steps + p.every - 1) / p.every),
        V0(p.V0),
        I(p.I),
        V1(p.V0.size()),
        z(p.z.size()),
        checkpoints(size_t(kept * p.lanes)),
        dI(p.z.size()),
        dV(p.V0.size()),
        zero(size_t(1)),
        params({kParams.rate, kParams.R, kParams.V_rest, kParams.V_th, kParams.V_reset,
                kParams.scale, 0.3f, 1.0f}) {}
};

void first_versions(const Problem& p, const Buffers& on, int threads) {
  const unsigned blocks = unsigned(cuda::blocks_for(p.lanes, threads));
  measure("1 a launch a step", threads, 16.0 * p.lanes * p.steps, [&] {
    const float* from = on.V0.at;
    for (int64_t t = 0; t < p.steps; ++t) {
      one_step<<<blocks, threads>>>(p.lanes, from, on.I.at + t * p.lanes, on.V1.at,
                                    on.z.at + t * p.lanes, kParams);
      from = on.V1.at;
    }
    check(cudaGetLastError(), "1");
  });
  validate("1", p.V1, on.V1.at);
  validate("1", p.z, on.z.at);
  measure("2 time loop inside", threads, 8.0 * p.lanes * (p.steps + 1), [&] {
    plain_scan<<<blocks, threads>>>(p.lanes, p.steps, on.V0.at, on.I.at, on.V1.at, on.z.at,
                                    kParams);
    check(cudaGetLastError(), "2");
  });
  validate("2", p.V1, on.V1.at);
  validate("2", p.z, on.z.at);
}

cuda::ForwardArgs<Lif, float> forward_args(const Problem& p, const Buffers& on) {
  cuda::ForwardArgs<Lif, float> f{};
  f.grid = {p.lanes, 1, {p.lanes}};
  f.steps = p.steps;
  f.every = p.every;
  f.state0[0] = rows<const float>(on.V0.at, 0);
  for (int k = 0; k < 6; ++k) f.params[k] = {on.params.at + k, 0, {}};
  f.inputs[0] = rows<const float>(on.I.at, p.lanes);
  f.inputs[1] = {on.zero.at, 0, {}};
  f.state1[0] = rows(on.V1.at, 0);
  f.spikes[0] = rows(on.z.at, p.lanes);
  f.checkpoints[0] = rows(on.checkpoints.at, p.lanes);
  return f;
}

cuda::BackwardArgs<Lif, float> backward_args(const Problem& p, const Buffers& on, int threads) {
  const cuda::ForwardArgs<Lif, float> f = forward_args(p, on);
  cuda::BackwardArgs<Lif, float> b{};
  b.grid = f.grid;
  b.steps = p.steps;
  b.every = p.every;
  b.room = cuda::room_for<Lif, float>(threads, p.every);
  b.surrogate = Surrogate::kReluGrad;
  for (int k = 0; k < 2; ++k) b.surrogate_operands[k] = {on.params.at + 6 + k, 0, {}};
  b.checkpoints[0] = rows<const float>(on.checkpoints.at, p.lanes);
  for (int k = 0; k < 6; ++k) b.params[k] = f.params[k];
  for (int k = 0; k < 2; ++k) b.inputs[k] = f.inputs[k];
  b.d_state1[0] = rows<const float>(on.V1.at, 0);
  b.d_spikes[0] = rows<const float>(on.z.at, p.lanes);
  b.d_state0[0] = rows(on.dV.at, 0);
  b.d_inputs[0] = rows(on.dI.at, p.lanes);
  return b;
}

void product(const Problem& p, const Buffers& on, int threads) {
  const int64_t blocks = cuda::blocks_for(p.lanes, threads);
  const auto f = forward_args(p, on);
  measure("3 reads ahead, checkpoints", threads, 4.0 * p.lanes * (2 * p.steps + 2 + on.kept), [&] {
    check(cuda::launch<&cuda::forward<Lif, float>>(nullptr, blocks, threads, 0, f), "3");
  });
  validate("3", p.V1, on.V1.at);
  validate("3", p.z, on.z.at);
  const auto b = backward_args(p, on, threads);
  const size_t shared = cuda::shared_bytes<Lif, float>(threads, b.room);
  measure("3 backward", threads, 4.0 * p.lanes * (4 * p.steps + 2 + on.kept), [&] {
    check(cuda::launch<&cuda::backward<Lif, float, false>>(nullptr, blocks, threads, shared, b),
          "3 backward");
  });
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t lanes = argc > 1 ? std::atoll(argv[1]) : 1 << 20;
  const int64_t steps = argc > 2 ? std::atoll(argv[2]) : 200;
  const Problem p(lanes, steps);
  const Buffers on(p);
  std::printf("LIF, %lld lanes, %lld steps, float32\n", (long long)lanes, (long long)steps);
  for (const int threads : {32, 64, 128}) {
    first_versions(p, on, threads);
    product(p, on, threads);
  }
  std::printf("all spikes and states have the bits of the plain loop\n");
  return 0;
}
