// The meaning of rules is checked in spikexla/connect; here only what keeps a wrong call inside its
// memory.
#include "rows_module.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>

#include "require.h"

namespace nb = nanobind;

namespace {

using spikexla::require;
using spikexla::require_ascending;
using spikexla::require_range;
using spikexla::RowRule;
using spikexla::RowValues;
using spikexla::abi::Law;

template <class T>
using Vector = Rule::Vector<T>;
using Floats = std::optional<Vector<float>>;
// (law, centre, spread, from, span, low, high)
using LawArguments = std::tuple<std::string, double, double, double, double, double, double>;

constexpr std::array<const char*, 6> kKinds = {"fan", "sizes",      "prob",
                                               "all", "one_to_one", "given"};
constexpr std::array<const char*, 4> kLaws = {"exponential", "uniform", "normal", "lognormal"};

template <class Names>
int index_of(const Names& names, const std::string& name) {
  const auto at = std::find(names.begin(), names.end(), name);
  require(at != names.end(), "there is no kind or law " + name);
  return int(at - names.begin());
}

RowValues drawn(const LawArguments& a) {
  RowValues v;
  v.drawn = true;
  v.law = Law(index_of(kLaws, std::get<0>(a)));
  v.centre = std::get<1>(a);
  v.spread = std::get<2>(a);
  v.from = std::get<3>(a);
  v.span = std::get<4>(a);
  v.low = float(std::get<5>(a));
  v.high = float(std::get<6>(a));
  return v;
}

void require_choices(const RowRule& r, int64_t row) {
  const int64_t wanted = spikexla::begin_row(r, row + 1) - spikexla::begin_row(r, row);
  const int64_t have = spikexla::choices(r, row);
  require(wanted == 0 || have > 0, "no target to draw from");
  require(!r.distinct || wanted <= have, "more targets than there are");
}

Rule make(const std::string& kind, uint64_t seed, int64_t n_pre, int64_t n_post, int64_t fan,
          double p, bool skip_self, bool distinct, std::optional<Vector<const int64_t>> indptr,
          std::optional<Vector<const int32_t>> targets, const std::optional<LawArguments>& weight,
          const std::optional<LawArguments>& delay, int64_t shift) {
  require_range("n_pre", n_pre, 0, INT32_MAX);
  require_range("n_post", n_post, 1, INT32_MAX);
  require_range("fan", fan, 0, INT32_MAX);
  require(p >= 0 && p <= 1, "p is " + std::to_string(p) + ", must be from 0 to 1");
  Rule made{{}, nullptr, std::move(targets)};
  RowRule& r = made.rule;
  r.kind = RowRule::Kind(index_of(kKinds, kind));
  r.seed = seed;
  r.n_pre = n_pre;
  r.n_post = n_post;
  r.fan = fan;
  r.p = p;
  r.skip_self = skip_self;
  r.shift = require_range("shift", shift, -int64_t{INT32_MAX}, INT32_MAX);
  r.distinct = distinct;
  const bool given = r.kind == RowRule::kGiven;
  const bool sized = r.kind == RowRule::kSizes || (given && indptr);
  if (sized) {
    require(bool(indptr), "indptr is missing");
    require_range("the length of indptr", int64_t(indptr->shape(0)), n_pre + 1, n_pre + 1);
    made.indptr.reset(new int64_t[n_pre + 1]);
    std::copy_n(indptr->data(), n_pre + 1, made.indptr.get());
    r.indptr = made.indptr.get();
    require_ascending("indptr", r.indptr, n_pre);
    int64_t widest = 0;
    for (int64_t i = 0; i < n_pre; ++i) widest = std::max(widest, r.indptr[i + 1] - r.indptr[i]);
    require_range("the longest row of indptr", widest, 0, INT32_MAX);
  }
  if (given) {
    require(made.targets.has_value(), "targets are missing");
    const int64_t have = int64_t(made.targets->shape(0)), total = spikexla::begin_row(r, n_pre);
    require(have == total, "targets do not fit indptr: there are " + std::to_string(have) +
                               ", must be " + std::to_string(total));
    r.targets = made.targets->data();
  } else if (sized) {
    for (int64_t i = 0; i < n_pre; ++i) require_choices(r, i);
  } else if (r.kind == RowRule::kFan && n_pre > 0) {
    require_choices(r, std::clamp<int64_t>(-shift, 0, n_pre - 1));  // no row has fewer targets
  }
  if (weight) r.weight = drawn(*weight);
  if (delay) r.delay = drawn(*delay);
  return made;
}

// indptr needs n_pre + 1 elements.
void require_rows(const RowRule& rule, size_t begins) {
  require_range("the length of indptr", int64_t(begins), rule.n_pre + 1, rule.n_pre + 1);
}

void count_rows(const Rule& rule, Vector<int64_t> indptr) {
  require_rows(rule.rule, indptr.shape(0));
  nb::gil_scoped_release release;
  spikexla::count_rows(rule.rule, indptr.data());
}

void read_rows(const Rule& rule, Vector<const int64_t> indptr, Vector<int32_t> targets,
               Floats weights, Floats delays) {
  const RowRule& r = rule.rule;
  require_rows(r, indptr.shape(0));
  require_ascending("indptr", indptr.data(), r.n_pre, int64_t(targets.shape(0)));
  for (const auto& [values, law] : {std::pair(&weights, &r.weight), std::pair(&delays, &r.delay)})
    require(!*values || (law->drawn && (*values)->shape(0) == targets.shape(0)),
            "values do not fit targets");
  bool fits;
  {
    nb::gil_scoped_release release;
    fits =
        spikexla::read_rows(r, indptr.data(), targets.data(), weights ? weights->data() : nullptr,
                            delays ? delays->data() : nullptr);
  }
  require(fits, "indptr is not what count_rows counts for this rule");
}

void draw_law(uint64_t seed, const LawArguments& law, Vector<float> out) {
  const RowValues v = drawn(law);
  nb::gil_scoped_release release;
  spikexla::draw_law(v, seed, int64_t(out.shape(0)), out.data());
}

}  // namespace

void add_rows(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Rule>(m, "RowRule")
      .def_prop_ro("n_pre", [](const Rule& r) { return r.rule.n_pre; })
      .def_prop_ro("n_post", [](const Rule& r) { return r.rule.n_post; })
      .def_prop_ro("expected", [](const Rule& r) { return spikexla::expected_synapses(r.rule); });
  m.def("row_rule", &make, "kind"_a, "seed"_a, "n_pre"_a, "n_post"_a, "fan"_a = 0, "p"_a = 0.0,
        "skip_self"_a = false, "distinct"_a = false, nb::arg("indptr").noconvert() = nb::none(),
        nb::arg("targets").noconvert() = nb::none(), "weight"_a = nb::none(),
        "delay"_a = nb::none(), "shift"_a = 0);
  m.def("draw_law", &draw_law, "seed"_a, "law"_a, nb::arg("out").noconvert());
  m.def("count_rows", &count_rows, "rule"_a, nb::arg("indptr").noconvert());
  m.def("read_rows", &read_rows, "rule"_a, nb::arg("indptr").noconvert(),
        nb::arg("targets").noconvert(), nb::arg("weights").noconvert() = nb::none(),
        nb::arg("delays").noconvert() = nb::none());
}
