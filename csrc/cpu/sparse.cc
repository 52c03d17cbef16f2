// The loops over sparse matrices, compiled once for each SIMD level.
#include "cpu/connect_loops.h"
#include "cpu/sparse_levels.h"
#include "cpu/spike_matvec.h"
#include "cpu/value_loops.h"

SPIKEXLA_BEGIN

namespace cpu {
namespace {

template <class T, class Bits>
constexpr EventLoops<T> event_loops() {
  return {&scan_events<Bits, T>, &deliver<T>, &transposed<T>};
}

}  // namespace

const SparseLoops kSparseLoops = {event_loops<float, uint32_t>(),
                                  event_loops<double, uint64_t>(),
                                  &scan_events<uint8_t, uint8_t>,
                                  &draw_rows,
                                  &draw_gaps,
                                  &draw_values};

}  // namespace cpu

SPIKEXLA_END
