#include "levels_module.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>

#include "cpu/parallel.h"
#include "level_cases.h"

namespace nb = nanobind;
using spikexla::LevelCase;
using spikexla::abi::Table;

namespace {

std::vector<std::string> machine_levels() {
  std::vector<std::string> names;
  for (const Table* t : spikexla::abi::compiled_levels())
    if (spikexla::abi::supported(*t)) names.emplace_back(t->level);
  return names;
}

std::vector<LevelCase> level_cases(const std::string& level, int64_t lanes) {
  constexpr int64_t kBlock = spikexla::abi::kBitsLanes;
  if (lanes < 1 || lanes > int64_t{1} << 24) throw std::invalid_argument("lanes must be 1 to 2^24");
  for (const Table* t : spikexla::abi::compiled_levels())
    if (level == t->level && spikexla::abi::supported(*t))
      return spikexla::LevelCases(*t, (lanes + kBlock - 1) / kBlock * kBlock).take();
  throw std::invalid_argument("this machine has no level " + level);
}

// The seconds that so many calls take on this thread.
double run(const LevelCase& c, int64_t calls) {
  nb::gil_scoped_release release;
  const spikexla::FlushDenormals flush;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t k = 0; k < calls; ++k) c.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void add_levels(nb::module_& m) {
  m.def("machine_levels", &machine_levels);
  nb::class_<LevelCase>(m, "LevelCase")
      .def_ro("name", &LevelCase::name)
      .def_ro("arithmetic", &LevelCase::arithmetic)
      .def_ro("elements", &LevelCase::elements)
      .def_ro("bytes", &LevelCase::bytes)
      .def("run", &run, nb::arg("calls"))
      .def("digest", [](const LevelCase& c) { return c.digest(); });
  m.def("level_cases", &level_cases, nb::arg("level"), nb::arg("lanes"));
}
