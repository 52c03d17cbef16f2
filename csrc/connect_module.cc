// The connectivity builders as Python functions on numpy arrays. Arguments are checked in
// spikexla/connect; here only the sizes that keep a wrong call inside its memory.
#include "connect_module.h"

#include <nanobind/ndarray.h>

#include "cpu/connect.h"
#include "cpu/philox.h"
#include "require.h"

namespace nb = nanobind;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

using spikexla::require;
using spikexla::require_ascending;
using spikexla::require_range;

int64_t rows_of(size_t begins) {
  return require_range("the length of indptr", int64_t(begins), 1, int64_t{INT32_MAX} + 1) - 1;
}

spikexla::Selves selves_of(bool skip_self, int64_t shift) {
  return {skip_self, require_range("shift", shift, -int64_t{INT32_MAX}, INT32_MAX)};
}

void draw_rows(uint64_t seed, int64_t n_post, bool skip_self, bool distinct,
               Vector<const int64_t> indptr, Vector<int32_t> targets, int64_t shift) {
  const auto selves = selves_of(skip_self, shift);
  const int64_t n_pre = rows_of(indptr.shape(0));
  require_range("n_post", n_post, 0, INT32_MAX);
  require_ascending("indptr", indptr.data(), n_pre, int64_t(targets.shape(0)));
  for (int64_t i = 0; i < n_pre; ++i) {
    const int64_t fan = indptr.data()[i + 1] - indptr.data()[i];
    const int64_t self = i + shift;
    const int64_t choices = n_post - (skip_self && self >= 0 && self < n_post);
    require(fan == 0 || choices > 0, "no target to draw from");
    require(!distinct || fan <= choices, "more targets than there are");
  }
  nb::gil_scoped_release release;
  spikexla::draw_rows(seed, n_pre, n_post, indptr.data(), selves, distinct, targets.data());
}

spikexla::BernoulliRows bernoulli(uint64_t seed, int64_t n_post, double p, bool skip_self,
                                  int64_t shift, const Vector<int64_t>& indptr) {
  require(p >= 0 && p <= 1, "p is " + std::to_string(p) + ", must be from 0 to 1");
  return {seed, rows_of(indptr.shape(0)), require_range("n_post", n_post, 0, INT32_MAX), p,
          selves_of(skip_self, shift)};
}

void fixed_prob_count(uint64_t seed, int64_t n_post, double p, bool skip_self,
                      Vector<int64_t> indptr, int64_t shift) {
  const auto rows = bernoulli(seed, n_post, p, skip_self, shift, indptr);
  nb::gil_scoped_release release;
  spikexla::fixed_prob_count(rows, indptr.data());
}

void fixed_prob_fill(uint64_t seed, int64_t n_post, double p, bool skip_self,
                     Vector<int64_t> indptr, Vector<int32_t> targets, int64_t shift) {
  const auto rows = bernoulli(seed, n_post, p, skip_self, shift, indptr);
  require_ascending("indptr", indptr.data(), rows.n_pre, int64_t(targets.shape(0)));
  bool fits;
  {
    nb::gil_scoped_release release;
    fits = spikexla::fixed_prob_fill(rows, indptr.data(), targets.data());
  }
  require(fits, "indptr is not what fixed_prob_count counts with these arguments");
}

void from_arrays(Vector<const int32_t> pre, Vector<const int32_t> post, Vector<int64_t> indptr,
                 Vector<int32_t> targets, Vector<int64_t> order) {
  const size_t total = pre.shape(0);
  require(post.shape(0) == total && targets.shape(0) == total && order.shape(0) == total,
          "the arrays differ in length");
  const int64_t n_pre = rows_of(indptr.shape(0));
  for (size_t s = 0; s < total; ++s)
    if (uint32_t(pre.data()[s]) >= uint64_t(n_pre))
      require_range("a source", pre.data()[s], 0, n_pre - 1);
  nb::gil_scoped_release release;
  spikexla::from_arrays(pre.data(), post.data(), int64_t(total), n_pre, indptr.data(),
                        targets.data(), order.data());
}

}  // namespace

void add_builders(nb::module_& m) {
  using namespace nb::literals;
  m.def("draw_rows", &draw_rows, "seed"_a, "n_post"_a, "skip_self"_a, "distinct"_a,
        nb::arg("indptr").noconvert(), nb::arg("targets").noconvert(), "shift"_a = 0);
  m.def("fixed_prob_count", &fixed_prob_count, "seed"_a, "n_post"_a, "p"_a, "skip_self"_a,
        nb::arg("indptr").noconvert(), "shift"_a = 0);
  m.def("fixed_prob_fill", &fixed_prob_fill, "seed"_a, "n_post"_a, "p"_a, "skip_self"_a,
        nb::arg("indptr").noconvert(), nb::arg("targets").noconvert(), "shift"_a = 0);
  m.def("from_arrays", &from_arrays, nb::arg("pre").noconvert(), nb::arg("post").noconvert(),
        nb::arg("indptr").noconvert(), nb::arg("targets").noconvert(),
        nb::arg("order").noconvert());
  m.def(
      "philox",
      [](uint64_t seed, uint32_t stream, uint32_t step, uint64_t index) {
        const spikexla::Words w = spikexla::philox(seed, stream, step, index);
        return nb::make_tuple(w.w0, w.w1, w.w2, w.w3);
      },
      "seed"_a, "stream"_a, "step"_a, "index"_a);
}
