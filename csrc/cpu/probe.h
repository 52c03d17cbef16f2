// What a running network writes down of chosen neurons, every so many steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace spikexla {

// The values of the neurons `index` after the steps `phase`, `phase + every`, ...: a row each.
template <class T>
struct Probe {
  int64_t population;
  int64_t variable;  // a field of the model's state, or their number plus that of a port
  int64_t every, phase;
  const int32_t* index;  // ascending
  int64_t count;
  T* rows;  // (ceil(steps / every), count)

  bool due(int64_t t) const { return t >= phase && (t - phase) % every == 0; }

  // Writes what belongs to the neurons [first, end), whose values these are.
  void take(int64_t t, int64_t first, int64_t end, const T* values) const {
    T* row = rows + (t - phase) / every * count;
    const int32_t* last = index + count;
    for (const int32_t* i = std::lower_bound<const int32_t*>(index, last, first);
         i < last && *i < end; ++i)
      row[i - index] = values[*i - first];
  }
};

template <class T>
class Probes {
 public:
  Probes() = default;
  explicit Probes(std::vector<Probe<T>> probes) : probes_(std::move(probes)) {}

  // Whether a variable from `least` on is read after step t: g must not have decayed by then.
  bool due(int64_t population, int64_t t, int64_t least) const {
    for (const Probe<T>& q : probes_)
      if (q.population == population && q.variable >= least && q.due(t)) return true;
    return false;
  }

  // Called by the owner of the neurons [first, end) when they have made step t. `values` gives a
  // variable's values from `first` on.
  template <class Values>
  void take(int64_t population, int64_t t, int64_t first, int64_t end, Values&& values) const {
    for (const Probe<T>& q : probes_)
      if (q.population == population && q.due(t)) q.take(t, first, end, values(q.variable));
  }

 private:
  std::vector<Probe<T>> probes_;
};

}  // namespace spikexla
