// XLA handler of network_run on a GPU: the network's tables, and a launch a step. No arithmetic.
//
// The twin of csrc/ffi/network.cc; csrc/ffi/network_plan.h says what arrays it takes. Memory of the
// call's own is XLA's, given back when the handler returns: what the stream does later comes after
// its launches. So a call cannot be recorded into a CUDA graph, which would keep the addresses.
#include <algorithm>
#include <vector>

#include "ffi/launches.cuh"
#include "ffi/network_plan.h"
#include "ffi/registry.h"
#include "launch.cuh"
#include "model_row.h"
#include "models.h"
#include "network_step.cuh"
#include "upload.cuh"

namespace spikexla {
namespace {

static_assert(cuda::kMostFields == abi::kMaxFields);

// The models in the order in which the plan numbers them, without the CPU's loops.
template <class... M>
std::vector<abi::NeuronRow> neuron_rows(TypeList<M...>) {
  return {neuron_row<M>({}, {})...};
}

// Where the arrays of the call's own lie behind each other, in bytes.
class Layout {
 public:
  template <class X>
  int64_t take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ += (int64_t{sizeof(X)} * count + 15) / 16 * 16;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

template <class T>
cuda::Each<T> each(const abi::Stream<T>& s) {
  return {s.at, s.lane};
}

// The tables of a plan, and the memory that its steps work in.
template <class T>
class Workspace {
 public:
  explicit Workspace(const NetworkPlan<T>& plan) : plan_(plan) {
    const int64_t slices = plan.slices.count(), ring = plan.synapses.kept + 1;
    int64_t ports = 0, poissons = 0, words = 0;
    for (const auto& p : plan.populations) {
      ports += int64_t(p.ports.size());
      poissons += int64_t(p.poissons.size());
      words += p.words();
      fired_words_.push_back(words - p.words());
    }
    for (int64_t s = 0; s < slices; ++s) {
      bases_.push_back(s == 0 ? 0 : bases_[s - 1] + plan.slices.inputs(s - 1));
      most_inputs_ = std::max(most_inputs_, plan.slices.inputs(s));
      int64_t neurons = 0;
      for (int64_t p = 0; p < plan.slices.populations(); ++p) neurons += plan.slices.length(p, s);
      most_neurons_ = std::max(most_neurons_, neurons);
    }
    bases_.push_back(bases_.back() + plan.slices.inputs(slices - 1));
    const int64_t populations = int64_t(plan.populations.size());
    populations_ = layout_.take<cuda::Population<T>>(populations);
    ports_ = layout_.take<cuda::Port<T>>(ports);
    poissons_ = layout_.take<cuda::Poisson<T>>(poissons);
    bundles_ = layout_.take<cuda::Bundle>(int64_t(plan.synapses.sources.size()));
    edges_ = layout_.take<int32_t>(populations * (slices + 1));
    table_bases_ = layout_.take<int64_t>(slices + 1);
    table_.resize(layout_.bytes() / sizeof(uint64_t));
    inputs_ = layout_.take<T>(bases_.back());
    fired_ = layout_.take<uint32_t>(words);
    arriving_ = layout_.take<int32_t>(ring * plan.rows);
    counts_ = layout_.take<int64_t>(ring);
    ended_ = layout_.take<unsigned>(1);
  }

  int64_t bytes() const { return layout_.bytes(); }
  const std::vector<uint64_t>& table() const { return table_; }

  // A thread for each neuron of a slice, as far as a block goes.
  int threads() const {
    return int(std::min<int64_t>(cuda::kNetworkThreads, (most_neurons_ + 63) / 64 * 64));
  }
  // Bytes of shared memory without and with the inputs of a slice.
  size_t room() const { return cuda::Room<T>::bytes(threads(), plan_.synapses.delays); }
  size_t whole_room() const { return room() + sizeof(T) * most_inputs_; }

  // Fills the table for memory at `base` and returns the network that it describes.
  cuda::Network<T> describe(char* base, int64_t steps) {
    const Synapses<T>& w = plan_.synapses;
    cuda::Network<T> net{};
    net.populations = reinterpret_cast<cuda::Population<T>*>(base + populations_);
    net.bundles = reinterpret_cast<cuda::Bundle*>(base + bundles_);
    net.num_populations = int64_t(plan_.populations.size());
    net.num_bundles = int64_t(w.sources.size());
    net.slices = plan_.slices.count();
    net.steps = steps;
    net.rows = plan_.rows;
    net.words = fill_bundles();
    net.first_delay = w.first_delay;
    net.delays = w.delays;
    net.kept = w.kept;
    net.total = plan_.total;
    net.starts = w.starts;
    net.runs = w.runs;
    net.narrow = w.narrow;
    net.wide = w.wide;
    net.weights = w.weights;
    net.by_synapse = w.by_synapse;
    net.inputs = reinterpret_cast<T*>(base + inputs_);
    net.bases = reinterpret_cast<int64_t*>(base + table_bases_);
    net.inputs_shared = whole_room() <= cuda::kShared;
    net.arriving = reinterpret_cast<int32_t*>(base + arriving_);
    net.counts = reinterpret_cast<int64_t*>(base + counts_);
    net.ended = reinterpret_cast<unsigned*>(base + ended_);
    std::copy(bases_.begin(), bases_.end(), at<int64_t>(table_bases_));
    fill_populations(base);
    return net;
  }

 private:
  template <class X>
  X* at(int64_t offset) {
    return reinterpret_cast<X*>(reinterpret_cast<char*>(table_.data()) + offset);
  }

  int64_t fill_bundles() {
    cuda::Bundle* to = at<cuda::Bundle>(bundles_);
    int64_t word = 0;
    for (const Sources& q : plan_.synapses.sources) {
      *to++ = {q.pre, q.low, q.high, q.row, word};
      if (q.high > q.low) word += (q.high + 31) / 32 - q.low / 32;
    }
    return word;
  }

  void fill_populations(char* base) {
    const int64_t slices = plan_.slices.count();
    int64_t port = 0, poisson = 0;
    for (size_t k = 0; k < plan_.populations.size(); ++k) {
      const Population<T>& p = plan_.populations[k];
      const int64_t edge = int64_t(k) * (slices + 1);
      cuda::Population<T>& to = at<cuda::Population<T>>(populations_)[k];
      to = {};
      to.model = p.model - models().data();
      to.size = p.size;
      to.words = p.words();
      to.hard = p.hard;
      std::copy_n(p.state, p.model->num_state, to.state);
      for (int j = 0; j < p.model->num_params; ++j) to.params[j] = each(p.params[j]);
      to.drive = each(p.drive);
      to.ports = reinterpret_cast<cuda::Port<T>*>(base + ports_) + port;
      to.poissons = reinterpret_cast<cuda::Poisson<T>*>(base + poissons_) + poisson;
      to.num_ports = int64_t(p.ports.size());
      to.num_poissons = int64_t(p.poissons.size());
      to.edges = reinterpret_cast<int32_t*>(base + edges_) + edge;
      to.history = p.history;
      to.raster = p.raster;
      to.fired = reinterpret_cast<uint32_t*>(base + fired_) + fired_words_[k];
      for (int64_t s = 0; s <= slices; ++s)
        at<int32_t>(edges_)[edge + s] = int32_t(plan_.slices.edge(int64_t(k), s));
      for (const auto& q : p.ports)
        at<cuda::Port<T>>(ports_)[port++] = {q.g, each(q.decay), each(q.value), q.conductance};
      for (const auto& q : p.poissons)
        at<cuda::Poisson<T>>(poissons_)[poisson++] = {q.port, q.rng, q.thresholds, q.num_thresholds,
                                                      each(q.weight)};
    }
  }

 public:
  static const std::vector<abi::NeuronRow>& models() {
    static const std::vector<abi::NeuronRow> rows = neuron_rows(Models{});
    return rows;
  }

 private:
  const NetworkPlan<T>& plan_;
  Layout layout_;
  std::vector<uint64_t> table_;
  std::vector<int64_t> bases_, fired_words_;
  int64_t most_inputs_ = 0, most_neurons_ = 1;
  int64_t populations_, ports_, poissons_, bundles_, edges_, table_bases_;
  int64_t inputs_, fired_, arriving_, counts_, ended_;
};

template <class T>
cudaError_t launch_all(cudaStream_t stream, const cuda::Network<T>& net, int threads, size_t room) {
  const int64_t ring = net.kept + 1;
  if (auto error = cuda::launch<&cuda::network_begin<T>>(stream, net.slices, threads, 0, net))
    return error;
  if (auto error = cuda::launch<&cuda::recall<T>>(stream, ring, threads, room, net)) return error;
  for (int64_t t = 0; t < net.steps; ++t)
    if (auto error =
            cuda::launch<&cuda::network_step<T>>(stream, net.slices, threads, room, net, t))
      return error;
  return cuda::launch<&cuda::remember<T>>(stream, net.kept, threads, 0, net);
}

template <class T>
ffi::Error run(cudaStream_t stream, ffi::ScratchAllocator& scratch, Reader& r, int64_t steps) {
  const auto& models = Workspace<T>::models();
  const NetworkPlan<T> plan = read_network<T>(r, models.data(), int(models.size()), steps);
  if (!r.ok()) return invalid("network_run: " + r.complaint());
  if (steps == 0) return ffi::Error::Success();
  Workspace<T> workspace(plan);
  if (workspace.room() > cuda::kShared)
    return invalid("network_run: " + std::to_string(plan.synapses.delays) +
                   " different delays are more than a GPU's shared memory counts. Take a larger "
                   "dt, or the pure JAX path with sx.backend('xla').");
  const std::optional<void*> base = scratch.Allocate(workspace.bytes(), 16);
  if (!base)
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "spikexla: network_run needs " + std::to_string(workspace.bytes() >> 20) +
                          " MiB of GPU memory beside its arrays, for spikes that are under way. "
                          "Free some, or make the longest delay shorter.");
  const cuda::Network<T> net = workspace.describe(static_cast<char*>(*base), steps);
  const auto& table = workspace.table();
  if (const auto error =
          cuda::upload(stream, static_cast<uint64_t*>(*base), table.data(), int64_t(table.size())))
    return checked(error, "network_run");
  const size_t room = net.inputs_shared ? workspace.whole_room() : workspace.room();
  return checked(launch_all(stream, net, workspace.threads(), room), "network_run");
}

ffi::Error handle(cudaStream_t stream, ffi::ScratchAllocator scratch, ffi::RemainingArgs args,
                  ffi::RemainingRets rets, ffi::Span<const int64_t> plan, int64_t steps) {
  if (args.size() == 0) return invalid("network_run: given no arrays, must be a network's");
  if (auto error = poison(stream, args, rets); error.failure()) return error;
  Reader r(args, rets, plan, [stream](void* to, const void* from, size_t bytes) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream) == cudaSuccess;
  });
  return by_float_type(*args.get<ffi::AnyBuffer>(0),
                       [&](auto zero) { return run<decltype(zero)>(stream, scratch, r, steps); });
}

XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound = ffi::Ffi::Bind()
                           .Ctx<ffi::PlatformStream<cudaStream_t>>()
                           .Ctx<ffi::ScratchAllocator>()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attr<ffi::Span<const int64_t>>("plan")
                           .Attr<int64_t>("steps")
                           .To(&handle)
                           .release();
  return bound->Call(frame);
}

}  // namespace

void add_network_kernels(std::vector<Kernel>& kernels) {
  kernels.push_back(
      {"spikexla.network_run.v1", "CUDA", "", "", "", "", reinterpret_cast<void*>(&handler)});
}

}  // namespace spikexla
