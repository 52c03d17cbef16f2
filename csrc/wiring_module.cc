// Packing the synapses of a network, as a Python function on numpy arrays. spikexla/ops/wiring.py
// has checked shapes; what the arrays hold is checked here, once.
#include "wiring_module.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "cpu/wiring.h"
#include "rows_module.h"

namespace nb = nanobind;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// The array of an optional element.
template <class T>
std::optional<Vector<T>> array(nb::handle h) {
  return h.is_none() ? std::nullopt : std::optional(nb::cast<Vector<T>>(h));
}

template <class T>
spikexla::Feed<T> feed(nb::handle given, int64_t rows) {
  const nb::tuple f = nb::cast<nb::tuple>(given);  // (rule, weights, delays, by_synapse, dt, ...)
  spikexla::Feed<T> q{};
  q.rule = nb::cast<const Rule&>(f[0]).rule;
  const auto weights = array<const T>(f[1]);
  const auto delays = array<const uint16_t>(f[2]);
  const bool known = spikexla::begins_known(q.rule);
  const int64_t total = known ? spikexla::begin_row(q.rule, rows) : 0;
  if (weights) {
    q.weights = weights->data();
    q.by_synapse = weights->shape(0) != 1;
  }
  q.delays.dt = nb::cast<double>(f[4]);
  if (delays) {
    q.delays.at = delays->data();
    q.delays.by_synapse = delays->shape(0) != 1 && nb::cast<bool>(f[3]);
    q.delays.by_row = delays->shape(0) != 1 && !q.delays.by_synapse;
  }
  const auto each = [&](const auto& x) { return known && int64_t(x->shape(0)) == total; };
  if (q.rule.n_pre != rows || !(weights ? !q.by_synapse || each(weights) : q.rule.weight.drawn) ||
      !(!delays               ? q.rule.delay.drawn && q.delays.dt > 0
        : q.delays.by_synapse ? each(delays)
                              : !q.delays.by_row || int64_t(delays->shape(0)) == rows))
    throw std::invalid_argument("the arrays of a projection do not fit together");
  q.post = nb::cast<int64_t>(f[5]);
  q.port = nb::cast<int64_t>(f[6]);
  return q;
}

template <class T, class Index>
bool pack(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
          nb::list bundles, int64_t first_delay, int64_t delays, Vector<const int64_t> starts,
          Vector<uint32_t> runs, Vector<Index> targets, Vector<T> weights) {
  std::vector<spikexla::Bundle<T>> packed;
  int64_t rows = 0;
  for (nb::handle given : bundles) {
    const nb::tuple both = nb::cast<nb::tuple>(given);  // (rows, feeds)
    packed.push_back({nb::cast<int64_t>(both[0]), {}});
    for (nb::handle f : nb::cast<nb::list>(both[1])) {
      packed.back().feeds.push_back(feed<T>(f, packed.back().rows));
      const auto& q = packed.back().feeds.back();
      if (q.post < 0 || q.post >= int64_t(sizes.size()) || q.port < 0 || q.port >= ports[q.post] ||
          q.rule.n_post != sizes[q.post])
        throw std::invalid_argument("a projection feeds a port that does not exist");
    }
    rows += packed.back().rows;
  }
  if (int64_t(starts.shape(0)) != rows + 1 || slices < 1 || delays < 1 ||
      int64_t(runs.shape(0)) != rows * (slices * delays + 1) ||
      int64_t(targets.shape(0)) != starts.data()[rows] ||
      (weights.shape(0) != 0 && weights.shape(0) != targets.shape(0)))
    throw std::invalid_argument("the arrays to fill do not have the sizes of the network");
  const spikexla::Slices cut(slices, sizes, ports);
  const spikexla::Runs table{starts.data(), runs.data(), first_delay, delays};
  T* to = weights.shape(0) ? weights.data() : nullptr;
  nb::gil_scoped_release release;
  return spikexla::pack_wiring(cut, packed, table, targets.data(), to);
}

}  // namespace

void add_wiring(nb::module_& m) {
  const auto add = [&](auto function) {
    m.def("pack_wiring", function, nb::arg("slices"), nb::arg("sizes"), nb::arg("ports"),
          nb::arg("bundles"), nb::arg("first_delay"), nb::arg("delays"), nb::arg("starts"),
          nb::arg("runs").noconvert(), nb::arg("targets").noconvert(),
          nb::arg("weights").noconvert());
  };
  add(&pack<float, uint16_t>);
  add(&pack<float, uint32_t>);
  add(&pack<double, uint16_t>);
  add(&pack<double, uint32_t>);
}
