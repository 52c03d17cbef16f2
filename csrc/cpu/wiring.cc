#include "cpu/wiring.h"

#include <atomic>
#include <new>

#include "cpu/cores.h"
#include "cpu/failure.h"
#include "cpu/row_packer.h"

namespace spikexla {

template <class T, class Index>
bool pack_wiring(const Slices& slices, const std::vector<Bundle<T>>& bundles, const Runs& runs,
                 Index* targets, T* weights) {
  constexpr int64_t kChunk = 64;
  const int64_t width = slices.count() * runs.delays + 1;
  std::atomic<bool> sound{true};
  Failure failure;
  int64_t first = 0;
  for (const Bundle<T>& bundle : bundles) {
    const int64_t synapses = runs.starts[first + bundle.rows] - runs.starts[first];
    on_all_cores((bundle.rows + kChunk - 1) / kChunk, synapses + bundle.rows, [&](int64_t task) {
      failure.guard([&] {
        RowPacker<T, Index> packer(slices, bundle, runs.first_delay, runs.delays);
        const int64_t last = std::min(bundle.rows, (task + 1) * kChunk);
        for (int64_t row = task * kChunk; row < last && sound; ++row) {
          const int64_t start = runs.starts[first + row];
          if (packer.read(row) == runs.starts[first + row + 1] - start)
            packer.place(runs.runs + (first + row) * width, targets + start,
                         weights ? weights + start : nullptr);
          else sound = false;
        }
      });
    });
    first += bundle.rows;
  }
  if (failure.why()) throw std::bad_alloc();
  return sound;
}

template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint16_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint32_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint16_t*,
                          double*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint32_t*,
                          double*);

}  // namespace spikexla
