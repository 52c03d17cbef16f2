// Lanes: shapes of operands against the plain meaning of numpy's broadcasting, before and after
// merging.
#include "lanes.h"

#include "check.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

using Shape = std::vector<int64_t>;

std::string text(const Shape& s) {
  std::string out = "(";
  for (const int64_t d : s) out += std::to_string(d) + ",";
  return out + ")";
}

// Where element `at` (a multi-index over `grid`) lies in an array of shape `dims`.
int64_t plain_offset(const Shape& dims, const Shape& at) {
  int64_t offset = 0;
  for (size_t k = 0; k < dims.size(); ++k) offset = offset * dims[k] + (dims[k] == 1 ? 0 : at[k]);
  return offset;
}

// Walks all lanes of `grid` (without time) through the merged views and compares every offset.
void walk(const Shape& grid, const std::vector<Shape>& operands) {
  Lanes lanes(
      [&] {
        Shape d = grid;
        d.insert(d.begin(), 5);
        return d;
      }(),
      int64_t(grid.size()));
  std::vector<View> views(operands.size());
  std::vector<View*> all;
  for (size_t k = 0; k < operands.size(); ++k) {
    check(lanes.add(operands[k], false, &views[k]), text(operands[k]) + " fits " + text(grid));
    all.push_back(&views[k]);
  }
  lanes.merge(all);
  int64_t n = 1;
  for (const int64_t d : grid) n *= d;
  check(lanes.size() == n && lanes.steps() == 5, text(grid) + " keeps its size when merged");
  for (int64_t i = 0; i < n; ++i) {
    Shape at(grid.size());
    int64_t rest = i;
    for (size_t k = grid.size(); k-- > 0;) at[k] = rest % grid[k], rest /= grid[k];
    for (size_t k = 0; k < operands.size(); ++k) {
      const int64_t got = lanes.offset(views[k], i / lanes.row(), i % lanes.row());
      check(got == plain_offset(operands[k], at),
            "lane " + std::to_string(i) + " of " + text(grid) + " in " + text(operands[k]));
    }
  }
}

void merging() {
  View a, b;
  Lanes together(Shape{7, 4, 3, 2}, 3);
  check(together.add(Shape{4, 3, 2}, false, &a) && together.add(Shape{1, 1, 1}, false, &b), "fits");
  const std::vector<View*> both = {&a, &b};
  together.merge(both);
  check(together.dims() == Shape{24}, "axes that all walk in step become one row");
  Lanes apart(Shape{7, 4, 3, 2}, 3);
  check(apart.add(Shape{4, 3, 2}, false, &a) && apart.add(Shape{1, 3, 2}, false, &b), "fits");
  apart.merge(both);
  check(apart.dims() == (Shape{4, 6}), "an axis that one operand repeats stays apart");
}

void time_axis() {
  View v;
  Lanes lanes(Shape{2, 7, 4}, 1);  // (vmap, time, lane)
  check(lanes.add(Shape{2, 7, 4}, true, &v) && v.time == 4 && v.strides == (Shape{28, 1}),
        "time lies between the vmap axes and the lanes");
  check(lanes.add(Shape{2, 1, 4}, true, &v) && v.time == 0 && v.steps == 1, "one step repeats");
  check(lanes.add(Shape{1, 7, 1}, true, &v) && v.time == 1 && v.strides == (Shape{0, 0}),
        "an axis of size 1 repeats");
}

void time_inside_of_the_lanes() {
  View spikes, state;
  Lanes lanes(Shape{3, 7, 1}, 1);  // (vmap, time, lane), so that vmap alone makes the row
  check(lanes.add(Shape{3, 7, 1}, true, &spikes) && lanes.add(Shape{3, 1}, false, &state), "fits");
  const std::vector<View*> both = {&spikes, &state};
  lanes.merge(both);
  check(lanes.row() == 3 && lanes.lane(spikes) == 7 && lanes.lane(state) == 1,
        "neighbours of a row lie as far apart as the steps between them");
  Lanes one(Shape{7, 1}, 1);
  check(one.add(Shape{7, 1}, true, &spikes), "fits");
  one.merge(std::vector<View*>{&spikes});
  check(one.row() == 1 && one.lane(spikes) == 1, "a row of one lane has no neighbours");
}

void refusals() {
  View v;
  const Lanes lanes(Shape{7, 4, 3}, 2);
  check(!lanes.add(Shape{4}, false, &v), "a lower rank is refused");
  check(!lanes.add(Shape{4, 2}, false, &v), "a size that is neither equal nor 1 is refused");
  check(!lanes.add(Shape{4, 3}, true, &v), "a missing time axis is refused");
  const int64_t huge = int64_t{1} << 40;
  const Lanes empty(Shape{0, huge, huge}, 2);
  check(!empty.add(Shape{huge, huge}, false, &v), "more elements than 64 bits count are refused");
}

}  // namespace

int main() {
  const std::vector<Shape> grids = {{},        {1},       {6}, {1, 1}, {4, 6},
                                    {3, 1, 5}, {2, 3, 4}, {0}, {3, 0}};
  for (const Shape& grid : grids) {
    const int masks = 1 << grid.size();
    for (int m = 0; m < masks; ++m)
      for (int n = 0; n < masks; ++n) {
        Shape a = grid, b = grid;
        for (size_t k = 0; k < grid.size(); ++k) {
          if (m >> k & 1) a[k] = 1;
          if (n >> k & 1) b[k] = 1;
        }
        walk(grid, {grid, a, b});
      }
  }
  merging();
  time_axis();
  time_inside_of_the_lanes();
  refusals();
  return summary();
}
