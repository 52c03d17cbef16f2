// Spikes out of a raster of bits, as lists that Python can hold.
#include "raster_module.h"

#include <nanobind/ndarray.h>

#include <stdexcept>

namespace nb = nanobind;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Raster = nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void unpack_bits(Raster raster, Vector<int32_t> steps, Vector<int32_t> ids) {
  nb::gil_scoped_release release;
  const size_t words = raster.shape(1), room = steps.shape(0);
  size_t at = 0;
  for (size_t t = 0; t < raster.shape(0); ++t)
    for (size_t w = 0; w < words; ++w)
      for (uint32_t word = raster.data()[t * words + w]; word != 0; word &= word - 1) {
        if (at >= room || at >= ids.shape(0)) throw std::invalid_argument("more spikes than room");
        steps.data()[at] = int32_t(t);
        ids.data()[at++] = int32_t(w * 32 + __builtin_ctz(word));
      }
  if (at != room) throw std::invalid_argument("fewer spikes than room");
}

}  // namespace

void add_raster(nb::module_& m) {
  m.def("unpack_bits", &unpack_bits, nb::arg("raster").noconvert(), nb::arg("steps").noconvert(),
        nb::arg("ids").noconvert());
}
