// Spikes out of a raster of bits, as lists that Python can hold.
#include "raster_module.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

#include <memory>
#include <vector>

namespace nb = nanobind;

namespace {

template <class T>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using Raster = nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class T>
Array<T> to_numpy(std::vector<T> values) {
  auto* kept = new std::vector<T>(std::move(values));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return Array<T>(kept->data(), {kept->size()}, owner);
}

// Lists the neurons whose bits are set in rows of `words` words.
class Lister {
 public:
  explicit Lister(size_t words) : words_(words), pairs_(words / 2 + 1) {}

  // Most pairs of words are zero. Which are not is written down without a branch, which would be
  // guessed wrong at every spike.
  void list(const uint32_t* row, std::vector<int32_t>& ids) {
    size_t count = 0;
    for (size_t w = 0; w < words_; w += 2) {
      pairs_[count] = {uint32_t(w), w + 1 < words_ ? row[w] | uint64_t{row[w + 1]} << 32 : row[w]};
      count += pairs_[count].bits != 0;
    }
    for (size_t k = 0; k < count; ++k)
      for (uint64_t bits = pairs_[k].bits; bits != 0; bits &= bits - 1)
        ids.push_back(int32_t(pairs_[k].word * 32) + __builtin_ctzll(bits));
  }

 private:
  struct Pair {
    uint32_t word;
    uint64_t bits;
  };
  size_t words_;
  std::vector<Pair> pairs_;
};

// How many neurons spiked in each step, and which, step after step.
std::pair<Array<int64_t>, Array<int32_t>> unpack_bits(const Raster& raster) {
  const size_t steps = raster.shape(0), words = raster.shape(1);
  std::vector<int64_t> counts(steps);
  std::vector<int32_t> ids;
  {
    const nb::gil_scoped_release release;
    Lister lister(words);
    for (size_t t = 0; t < steps; ++t) {
      const size_t before = ids.size();
      lister.list(raster.data() + t * words, ids);
      counts[t] = int64_t(ids.size() - before);
    }
  }
  return {to_numpy(std::move(counts)), to_numpy(std::move(ids))};
}

}  // namespace

void add_raster(nb::module_& m) {
  m.def("unpack_bits", &unpack_bits, nb::arg("raster").noconvert());
}
