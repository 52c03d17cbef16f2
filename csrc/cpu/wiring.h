// The synapses of a network as network_run reads them.
//
// A row is one source in one bundle: sources [low, high) of a population and all that they feed.
// The synapses of a row lie together, ordered by the slice of their target, then by delay, then as
// their projections have them: what arrives in one step at one slice is one run of memory, and the
// next step's run follows it. Because the order within a run is that of the projections, a target's
// sum does not depend on the number of slices.
#pragma once

#include <vector>

#include "cpu/rows.h"
#include "cpu/slices.h"

namespace spikexla {

// The delays of one projection in steps: one for all, one a source or one a synapse; or those that
// its rule draws, in ms.
struct Delays {
  const uint16_t* at;  // null: drawn
  bool by_row, by_synapse;
  double dt;      // ms a step
  int32_t ahead;  // steps fewer than the ms say, not below 0
};

// What one projection of a bundle adds to each row. One weight or delay a synapse is given in the
// order of a rule that knows where its rows begin (`begins_known`).
template <class T>
struct Feed {
  RowRule rule;
  const T* weights;  // null: those that the rule draws
  bool by_synapse;   // one weight a synapse, else one for all
  Delays delays;
  int64_t post, port;
};

template <class T>
struct Bundle {
  int64_t rows;
  std::vector<Feed<T>> feeds;
};

// Runs of row r: synapses starts[r] + runs[r][k] to starts[r] + runs[r][k + 1] for
// k = slice * delays + delay - first_delay.
struct Runs {
  const int64_t* starts;
  uint32_t* runs;  // (rows, slices * delays + 1); only read by unsound_row
  int64_t first_delay, delays;
};

// Fills runs, targets and, unless null, weights, on all cores, and reads each row from its rule as
// it is packed. False if a target or a delay is out of range, targets do not ascend, or a row does
// not have the length that `starts` gives it; bad_alloc on any thread is thrown on the caller's.
template <class T, class Index>
bool pack_wiring(const Slices& slices, const std::vector<Bundle<T>>& bundles, const Runs& runs,
                 Index* targets, T* weights);

// The first of `rows` rows that pack_wiring cannot have written, or -1: network_run would read
// runs outside of the row, or add to inputs that its slice has not.
template <class Index>
int64_t unsound_row(const Slices& slices, const Runs& runs, int64_t rows, const Index* targets);

}  // namespace spikexla
