// Packing the synapses of a network, as a Python function on numpy arrays. spikexla/ops/wiring.py
// has checked shapes; what the arrays hold is checked here, once.
#include "wiring_module.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "cpu/row_source.h"
#include "require.h"
#include "rows_module.h"

namespace nb = nanobind;

namespace {

using spikexla::require;
using spikexla::require_ascending;
using spikexla::require_range;

constexpr int64_t kMostSteps = 65535, kMostSlices = 1 << 16;  // as ffi/network_plan.h takes them

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// The array of an optional element: the very one, for of a converted copy nobody would take care.
template <class T>
std::optional<Vector<T>> array(nb::handle h) {
  return h.is_none() ? std::nullopt : std::optional(nb::cast<Vector<T>>(h, false));
}

template <class T>
spikexla::Feed<T> feed(const nb::tuple& f, int64_t rows) {
  require(f.size() == 8,
          "a projection is (rule, weights, delays, by_synapse, dt, post, port, ahead)");
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
    require(false, "a projection of " + std::to_string(rows) +
                       " sources has weights or delays that are neither one, nor one a source "
                       "(delays) or a synapse, nor drawn by its rule, or a rule of " +
                       std::to_string(q.rule.n_pre) + " sources");
  q.post = nb::cast<int64_t>(f[5]);
  q.port = nb::cast<int64_t>(f[6]);
  q.delays.ahead = nb::cast<int32_t>(f[7]);
  require_range("ahead", q.delays.ahead, 0, kMostSteps);
  return q;
}

// How a network is laid out, checked.
struct Layout {
  int64_t slices;
  const std::vector<int64_t>&sizes, &ports;
  int64_t first_delay, delays;

  void check() const {
    require_range("slices", slices, 1, kMostSlices);
    require_range("first_delay", first_delay, 0, kMostSteps);
    require_range("delays", delays, 1, kMostSteps);
    require_range("the number of ports", int64_t(ports.size()), int64_t(sizes.size()),
                  int64_t(sizes.size()));
    for (const int64_t n : sizes) require_range("a size", n, 0, INT32_MAX);
    for (const int64_t n : ports) require_range("ports of a population", n, 0, INT16_MAX);
  }
};

// The projections of a network and whoever owns their arrays.
template <class T>
struct Read {
  std::vector<spikexla::Bundle<T>> bundles;
  nb::list owners;
  int64_t rows = 0;
};

// Bundles are (rows, feeds).
template <class T>
Read<T> read_bundles(const Layout& layout, const nb::list& bundles) {
  Read<T> read;
  for (nb::handle given : bundles) {
    const nb::tuple both = nb::cast<nb::tuple>(given);
    require(both.size() == 2, "a bundle is (rows, projections)");
    read.bundles.push_back(
        {require_range("rows of a bundle", nb::cast<int64_t>(both[0]), 0, INT32_MAX), {}});
    auto& bundle = read.bundles.back();
    read.rows = require_range("rows of all bundles", read.rows + bundle.rows, 0, INT32_MAX);
    for (nb::handle one : nb::cast<nb::list>(both[1])) {
      const nb::tuple its = nb::cast<nb::tuple>(one);
      bundle.feeds.push_back(feed<T>(its, bundle.rows));
      read.owners.append(its);
      const auto& q = bundle.feeds.back();
      require_range("post of a projection", q.post, 0, int64_t(layout.sizes.size()) - 1);
      require_range("port of a projection", q.port, 0, layout.ports[q.post] - 1);
      require_range("n_post of a projection's rule", q.rule.n_post, layout.sizes[q.post],
                    layout.sizes[q.post]);
    }
  }
  return read;
}

void require_runs(int64_t size, int64_t rows, int64_t width) {
  require(size / width == rows && size % width == 0,
          "runs has " + std::to_string(size) + " elements, must have " + std::to_string(width) +
              " for each of " + std::to_string(rows) + " rows");
}

template <class T, class Index>
bool pack(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
          nb::list bundles, int64_t first_delay, int64_t delays, Vector<const int64_t> starts,
          Vector<uint32_t> runs, Vector<Index> targets, Vector<T> weights) {
  const Layout layout{slices, sizes, ports, first_delay, delays};
  layout.check();
  const Read<T> read = read_bundles<T>(layout, bundles);
  const int64_t rows = read.rows, width = slices * delays + 1, total = int64_t(targets.shape(0));
  require_range("the length of starts", int64_t(starts.shape(0)), rows + 1, rows + 1);
  require_ascending("starts", starts.data(), rows, total);
  require_runs(int64_t(runs.shape(0)), rows, width);
  if (weights.shape(0)) require_range("the length of weights", weights.shape(0), total, total);
  const spikexla::Slices cut(slices, sizes, ports);
  for (int64_t s = 0; s < slices; ++s)
    require_range("the inputs of a slice", cut.inputs(s), 0,
                  int64_t{std::numeric_limits<Index>::max()} + 1);
  const spikexla::Runs table{starts.data(), runs.data(), first_delay, delays};
  T* to = weights.shape(0) ? weights.data() : nullptr;
  nb::gil_scoped_release release;
  return spikexla::pack_wiring(cut, read.bundles, table, targets.data(), to);
}

// A ValueError for packed synapses that `pack` cannot have written.
template <class Index>
void check(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
           int64_t delays, Vector<const int64_t> starts, Vector<const uint32_t> runs,
           Vector<const Index> targets) {
  Layout{slices, sizes, ports, 0, delays}.check();
  const int64_t rows =
      require_range("the length of starts", int64_t(starts.shape(0)), 1, int64_t{INT32_MAX} + 1) -
      1;
  require_ascending("starts", starts.data(), rows, int64_t(targets.shape(0)));
  require_runs(int64_t(runs.shape(0)), rows, slices * delays + 1);
  const spikexla::Slices cut(slices, sizes, ports);
  const spikexla::Runs table{starts.data(), const_cast<uint32_t*>(runs.data()), 0, delays};
  int64_t row;
  {
    nb::gil_scoped_release release;
    row = spikexla::unsound_row(cut, table, rows, targets.data());
  }
  require(row < 0, "row " + std::to_string(row) +
                       " of the packed synapses has runs or targets that are not those of its "
                       "slices, must be what ops.wiring.pack made");
}

// What rows are drawn from, lent to network_run for as long as this object lives.
struct LentRows {
  std::shared_ptr<const void> source;
  uint64_t number;
};

template <class T>
LentRows lend(int64_t slices, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ports,
              nb::list bundles, int64_t first_delay, int64_t delays) {
  const Layout layout{slices, sizes, ports, first_delay, delays};
  layout.check();
  Read<T> read = read_bundles<T>(layout, bundles);
  // A list of our own, for the caller may change the one given. A run may be the last to hold the
  // arrays, on a thread without Python's lock.
  const std::shared_ptr<void> arrays(new nb::list(std::move(read.owners)), [](void* held) {
    const nb::gil_scoped_acquire acquire;
    delete static_cast<nb::list*>(held);
  });
  const std::shared_ptr<const spikexla::RowSource<T>> source(
      new spikexla::RowSource<T>{spikexla::Slices(slices, sizes, ports), std::move(read.bundles),
                                 first_delay, delays, arrays});
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
  const auto add_check = [&](auto function) {
    m.def("check_wiring", function, nb::arg("slices"), nb::arg("sizes"), nb::arg("ports"),
          nb::arg("delays"), nb::arg("starts").noconvert(), nb::arg("runs").noconvert(),
          nb::arg("targets").noconvert());
  };
  add_check(&check<uint16_t>);
  add_check(&check<uint32_t>);
  add(&pack<float, uint16_t>);
  add(&pack<float, uint32_t>);
  add(&pack<double, uint16_t>);
  add(&pack<double, uint32_t>);
}
