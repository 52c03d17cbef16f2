// Packing the synapses of a network, as a Python function on numpy arrays. spikexla/ops/wiring.py
// has checked shapes; what the arrays hold is checked here, once.
#include "wiring_module.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <stdexcept>

#include "cpu/row_source.h"
#include "rows_module.h"

namespace nb = nanobind;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// The array of an optional element: the very one, for of a converted copy nobody would take care.
template <class T>
std::optional<Vector<T>> array(nb::handle h) {
  return h.is_none() ? std::nullopt : std::optional(nb::cast<Vector<T>>(h, false));
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
  q.delays.ahead = nb::cast<int32_t>(f[7]);
  return q;
}

// Bundles are (rows, feeds).
template <class T>
std::vector<spikexla::Bundle<T>> read_bundles(const std::vector<int64_t>& sizes,
                                              const std::vector<int64_t>& ports,
                                              const nb::list& bundles) {
  std::vector<spikexla::Bundle<T>> read;
  for (nb::handle given : bundles) {
    const nb::tuple both = nb::cast<nb::tuple>(given);
    read.push_back({nb::cast<int64_t>(both[0]), {}});
    for (nb::handle f : nb::cast<nb::list>(both[1])) {
      read.back().feeds.push_back(feed<T>(f, read.back().rows));
      const auto& q = read.back().feeds.back();
      if (q.post < 0 || q.post >= int64_t(sizes.size()) || q.port < 0 || q.port >= ports[q.post] ||
          q.rule.n_post != sizes[q.post])
        throw std::invalid_argument("a projection feeds a port that does not exist");
    }
  }
  return read;
}

template <class T, class Index>
bool pack(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
          nb::list bundles, int64_t first_delay, int64_t delays, Vector<const int64_t> starts,
          Vector<uint32_t> runs, Vector<Index> targets, Vector<T> weights) {
  const auto packed = read_bundles<T>(sizes, ports, bundles);
  int64_t rows = 0;
  for (const auto& bundle : packed) rows += bundle.rows;
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

// What rows are drawn from, lent to network_run for as long as this object lives.
struct LentRows {
  std::shared_ptr<const void> source;
  uint64_t number;
};

template <class T>
LentRows lend(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
              nb::list bundles, int64_t first_delay, int64_t delays) {
  if (slices < 1 || delays < 1) throw std::invalid_argument("there are no slices or delays");
  // A run may be the last to hold the arrays, on a thread without Python's lock.
  const std::shared_ptr<void> arrays(new nb::list(bundles), [](void* held) {
    const nb::gil_scoped_acquire acquire;
    delete static_cast<nb::list*>(held);
  });
  const std::shared_ptr<const spikexla::RowSource<T>> source(new spikexla::RowSource<T>{
      spikexla::Slices(slices, sizes, ports), read_bundles<T>(sizes, ports, bundles), first_delay,
      delays, arrays});
  return {source, spikexla::lend(source)};
}

}  // namespace

void add_wiring(nb::module_& m) {
  const auto add = [&](auto function) {
    m.def("pack_wiring", function, nb::arg("slices"), nb::arg("sizes"), nb::arg("ports"),
          nb::arg("bundles"), nb::arg("first_delay"), nb::arg("delays"), nb::arg("starts"),
          nb::arg("runs").noconvert(), nb::arg("targets").noconvert(),
          nb::arg("weights").noconvert());
  };
  nb::class_<LentRows>(m, "LentRows").def_ro("number", &LentRows::number);
  const auto add_lend = [&](const char* name, auto function) {
    m.def(name, function, nb::arg("slices"), nb::arg("sizes"), nb::arg("ports"), nb::arg("bundles"),
          nb::arg("first_delay"), nb::arg("delays"));
  };
  add_lend("lend_rows_float32", &lend<float>);
  add_lend("lend_rows_float64", &lend<double>);
  add(&pack<float, uint16_t>);
  add(&pack<float, uint32_t>);
  add(&pack<double, uint16_t>);
  add(&pack<double, uint32_t>);
}
