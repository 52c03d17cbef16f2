#include "cpu/wiring.h"

#include <atomic>
#include <new>

#include "cpu/cores.h"
#include "cpu/failure.h"
#include "cpu/room.h"
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

template <class Index>
int64_t unsound_row(const Slices& slices, const Runs& runs, int64_t rows, const Index* targets) {
  constexpr int64_t kChunk = 1024;
  const int64_t width = slices.count() * runs.delays + 1;
  std::atomic<int64_t> unsound{rows};
  const auto sound = [&](int64_t row) {
    const uint32_t* run = runs.runs + row * width;
    bool fits = run[0] == 0 && run[width - 1] == runs.starts[row + 1] - runs.starts[row];
    for (int64_t k = 1; k < width; ++k) fits &= run[k - 1] <= run[k];
    for (int64_t s = 0; s < slices.count() && fits; ++s) {
      const Index* its = targets + runs.starts[row];
      Index most = 0;
      for (int64_t j = run[s * runs.delays]; j < run[(s + 1) * runs.delays]; ++j)
        most = std::max(most, its[j]);
      fits = run[s * runs.delays] == run[(s + 1) * runs.delays] || most < slices.inputs(s);
    }
    return fits;
  };
  on_all_cores(ceil_div(rows, kChunk), runs.starts[rows] + rows, [&](int64_t task) {
    const int64_t last = std::min(rows, (task + 1) * kChunk);
    for (int64_t row = task * kChunk; row < last; ++row) {
      if (sound(row)) continue;
      int64_t first = unsound;
      while (row < first && !unsound.compare_exchange_weak(first, row)) {
      }
      return;
    }
  });
  return unsound == rows ? -1 : unsound.load();
}

template int64_t unsound_row(const Slices&, const Runs&, int64_t, const uint16_t*);
template int64_t unsound_row(const Slices&, const Runs&, int64_t, const uint32_t*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint16_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<float>>&, const Runs&, uint32_t*,
                          float*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint16_t*,
                          double*);
template bool pack_wiring(const Slices&, const std::vector<Bundle<double>>&, const Runs&, uint32_t*,
                          double*);

}  // namespace spikexla
