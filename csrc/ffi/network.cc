// XLA handler of network_run: reads the plan and the buffers, checks them, runs the network.
//
// plan   populations, {model, size, hard, ports} each; {conductance} each port;
//        projections, {pre, low, high, post, port, fan} each (fan 0: CSR)
// args   states..., g...                                      (in place: also the first results)
//        {params..., drive} each population, {decay, value} each port,
//        {begins, targets, weights} each projection
// rets   states..., g..., rasters...      each (steps, ceil(size / 32)) uint32, or without elements
#include "cpu/network.h"

#include <cstring>

#include "ffi/buffers.h"
#include "ffi/registry.h"

namespace spikexla {
namespace {

// Takes the arguments in order and remembers the first complaint.
class Reader {
 public:
  Reader(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> plan)
      : args_(args), rets_(rets), plan_(plan) {}

  int64_t number() {
    return at_ < plan_.size() ? plan_[at_++] : (fail("the plan is too short"), 0);
  }
  ffi::AnyBuffer arg() { return *args_.get<ffi::AnyBuffer>(arg_++); }
  bool has_args(size_t n) { return arg_ + n <= args_.size() || (fail("too few arrays"), false); }
  bool has_rets(size_t n) { return ret_ + n <= rets_.size() || (fail("too few results"), false); }

  // The next result, with the operand that it starts from copied in if XLA did not share the
  // memory.
  template <class T>
  T* in_place(int64_t size) {
    if (!has_args(1) || !has_rets(1)) return nullptr;
    const ffi::AnyBuffer from = arg();
    ffi::AnyBuffer to = **rets_.get<ffi::AnyBuffer>(ret_++);
    if (int64_t(from.element_count()) != size || int64_t(to.element_count()) != size)
      return fail("a state array has not the size of its population"), nullptr;
    if (from.untyped_data() != to.untyped_data())
      std::memcpy(to.untyped_data(), from.untyped_data(), from.size_bytes());
    return reinterpret_cast<T*>(to.untyped_data());
  }

  // A parameter: one for all neurons or one each.
  template <class T>
  abi::Stream<T> stream(int64_t size) {
    if (!has_args(1)) return {};
    const ffi::AnyBuffer b = arg();
    const int64_t n = b.element_count();
    if (n != 1 && n != size) fail("a parameter has " + std::to_string(n) + " values");
    return {reinterpret_cast<const T*>(b.untyped_data()), n == 1 ? 0 : 1, 0};
  }

  uint32_t* raster(int64_t steps, int64_t words) {
    if (!has_rets(1)) return nullptr;
    ffi::AnyBuffer b = **rets_.get<ffi::AnyBuffer>(ret_++);
    if (b.element_count() == 0) return nullptr;
    if (b.element_type() != ffi::U32 || int64_t(b.element_count()) != steps * words)
      return fail("a raster has not the shape (steps, words)"), nullptr;
    return reinterpret_cast<uint32_t*>(b.untyped_data());
  }

  void fail(const std::string& message) {
    if (complaint_.empty()) complaint_ = message;
  }
  bool ok() const { return complaint_.empty(); }
  const std::string& complaint() const { return complaint_; }

 private:
  ffi::RemainingArgs args_;
  ffi::RemainingRets rets_;
  ffi::Span<const int64_t> plan_;
  size_t at_ = 0, arg_ = 0, ret_ = 0;
  std::string complaint_;
};

template <class T>
void read_projection(Reader& r, const std::vector<Population<T>>& pops, Projection<T>& q) {
  q.pre = int(r.number());
  q.low = r.number();
  q.high = r.number();
  q.post = int(r.number());
  q.port = int(r.number());
  q.rows.fan = r.number();
  const int n = int(pops.size());
  if (q.pre < 0 || q.pre >= n || q.post < 0 || q.post >= n || q.port < 0 ||
      q.port >= int(pops[q.post].ports.size()) || q.low < 0 || q.low > q.high ||
      q.high > pops[q.pre].size)
    r.fail("a projection names a population, port or source that does not exist");
}

template <class T>
void read_synapses(Reader& r, Projection<T>& q) {
  if (!r.ok() || !r.has_args(3)) return;
  const ffi::AnyBuffer begins = r.arg(), targets = r.arg(), weights = r.arg();
  const int64_t rows = q.high - q.low;
  q.rows.total = targets.element_count();
  if (q.rows.fan > 0 || begins.element_count() == 0) {
    if (q.rows.fan * rows != q.rows.total) r.fail("fixed fan-out: targets are not (sources, fan)");
  } else {
    if (int64_t(begins.element_count()) != rows + 1) r.fail("CSR: begins are not sources + 1");
    if (begins.element_type() == ffi::S32)
      q.rows.small = reinterpret_cast<const int32_t*>(begins.untyped_data());
    else if (begins.element_type() == ffi::S64)
      q.rows.large = reinterpret_cast<const int64_t*>(begins.untyped_data());
    else r.fail("CSR: begins must be int32 or int64");
  }
  if (targets.element_type() != ffi::S32) r.fail("targets must be int32");
  q.rows.targets = reinterpret_cast<const int32_t*>(targets.untyped_data());
  const int64_t n = weights.element_count();
  if (n != 1 && n != q.rows.total) r.fail("weights are neither one nor one a synapse");
  q.weights = reinterpret_cast<const T*>(weights.untyped_data());
  q.weight_step = n == 1 ? 0 : 1;
}

template <class T>
ffi::Error run(ffi::ThreadPool pool, Reader& r, int64_t steps) {
  std::vector<Population<T>> pops(std::max<int64_t>(0, r.number()));
  for (auto& p : pops) {
    const int64_t model = r.number();
    if (model < 0 || model >= abi::table().num_neurons) return invalid("no such neuron model");
    p.model = &abi::table().neurons[model];
    p.size = r.number();
    p.hard = r.number() != 0;
    p.ports.resize(std::max<int64_t>(0, r.number()));
  }
  for (auto& p : pops)
    for (auto& port : p.ports) port.conductance = r.number() != 0;
  std::vector<Projection<T>> projections(std::max<int64_t>(0, r.number()));
  for (auto& q : projections) read_projection(r, pops, q);
  for (auto& p : pops)
    for (int k = 0; k < p.model->num_state; ++k) p.state[k] = r.in_place<T>(p.size);
  for (auto& p : pops)
    for (auto& port : p.ports) port.g = r.in_place<T>(p.size);
  for (auto& p : pops) {
    for (int k = 0; k < p.model->num_params; ++k) p.params[k] = r.stream<T>(p.size);
    p.drive = r.stream<T>(p.size);
  }
  for (auto& p : pops)
    for (auto& port : p.ports) {
      port.decay = r.stream<T>(p.size);
      port.value = r.stream<T>(p.size);
    }
  for (auto& q : projections) read_synapses(r, q);
  for (auto& p : pops) p.raster = r.raster(steps, p.words());
  if (!r.ok()) return invalid("network_run: " + r.complaint());
  if (steps == 0) return ffi::Error::Success();
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), abi::thread_limit() - 1);
  const auto network = std::make_shared<Network<T>>(std::move(pops), std::move(projections), steps);
  if (!Network<T>::run(network, pool, helpers))
    return invalid("network_run: a row of synapses is unsorted or points outside its population");
  return ffi::Error::Success();
}

ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                  ffi::Span<const int64_t> plan, int64_t steps) {
  if (args.size() == 0) return invalid("network_run: no populations");
  Reader r(args, rets, plan);
  return by_float_type(*args.get<ffi::AnyBuffer>(0),
                       [&](auto zero) { return run<decltype(zero)>(pool, r, steps); });
}

XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound = ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attr<ffi::Span<const int64_t>>("plan")
                           .Attr<int64_t>("steps")
                           .To(handle)
                           .release();
  return bound->Call(frame);
}

}  // namespace

void add_network_kernels(std::vector<Kernel>& kernels) {
  kernels.push_back(
      {"spikexla.network_run.v1", "cpu", "", "", "", "", reinterpret_cast<void*>(&handler)});
}

}  // namespace spikexla
