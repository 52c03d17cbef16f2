// XLA handler of network_run on the CPU. network_plan.h says what arrays it takes.
#include "cpu/network.h"

#include "ffi/network_plan.h"
#include "ffi/registry.h"

namespace spikexla {
namespace {

// What rows are drawn from, if it belongs to this network.
template <class T>
void borrow_rows(Reader& r, NetworkPlan<T>* plan) {
  Synapses<T>& w = plan->synapses;
  w.rows = borrow<T>(*plan->lent);
  if (!w.rows) return r.fail("what the rows are drawn from is gone: keep what pack returned");
  bool fits = w.rows->slices == plan->slices && w.rows->first_delay == w.first_delay &&
              w.rows->delays == w.delays && w.rows->bundles.size() == w.sources.size();
  for (size_t k = 0; fits && k < w.sources.size(); ++k)
    fits = w.rows->bundles[k].rows == w.sources[k].high - w.sources[k].low;
  if (!fits) r.fail("the rows do not fit the populations");
}

template <class T>
ffi::Error run(ffi::ThreadPool pool, Reader& r, int64_t steps) {
  NetworkPlan<T> plan = read_network<T>(r, abi::table().neurons, abi::table().num_neurons, steps);
  if (r.ok() && plan.lent) borrow_rows(r, &plan);
  if (!r.ok()) return invalid("network_run: " + r.complaint());
  if (steps == 0) return ffi::Error::Success();
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), abi::thread_limit() - 1);
  const auto network = std::make_shared<Network<T>>(
      std::move(plan.populations), std::move(plan.synapses), std::move(plan.slices),
      Probes<T>(std::move(plan.probes)), steps);
  Network<T>::run(network, pool, helpers);
  const Failure& failure = network->failure();
  if (failure.out_of_memory()) return exhausted(std::string("network_run: ") + failure.why());
  if (failure.why()) return invalid(std::string("network_run: ") + failure.why());
  return ffi::Error::Success();
}

ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                  ffi::Span<const int64_t> plan, int64_t steps) {
  if (args.size() == 0) return invalid("network_run: given no arrays, must be a network's");
  return guarded("network_run", "Free some.", [&] {
    poison(args, rets);
    Reader r(args, rets, plan);
    return by_float_type(*args.get<ffi::AnyBuffer>(0),
                         [&](auto zero) { return run<decltype(zero)>(pool, r, steps); });
  });
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
