// exp and expm1 against libm in a wider type: the error bound that math.h states, on the whole
// range.
#include "math.h"

#include <cmath>
#include <limits>

#include "check.h"

using namespace spikexla_test;

namespace {

// |got - want| in units of the last place of T at `want`.
template <class T>
double ulps(T got, long double want) {
  const T near = T(want);
  const T up = std::nextafter(std::fabs(near), std::numeric_limits<T>::infinity());
  return double(std::fabs((long double)got - want) / ((long double)up - std::fabs(near)));
}

struct Row {
  const char* what;
  double low, high, bound;
};

template <class T>
void worst_error(const char* type, const Row& row, T (*ours)(T), long double (*libm)(long double)) {
  std::mt19937_64 rng(7);
  double worst = 0, at = 0;
  for (int k = 0; k <= 400000; ++k) {
    // Half of the points on a grid with both ends, half drawn.
    const double x0 =
        k % 2 ? uniform(rng, row.low, row.high) : row.low + (row.high - row.low) * (k / 400000.0);
    const T x = T(x0);
    const double error = ulps<T>(ours(x), libm((long double)x));
    if (!(error <= worst)) worst = error, at = double(x);
  }
  check(worst <= row.bound, std::string(type) + " " + row.what + ": " + std::to_string(worst) +
                                " ulp at x = " + std::to_string(at) + ", bound " +
                                std::to_string(row.bound));
  std::printf("%-7s %-6s [%g, %g]: at most %.2f ulp\n", type, row.what, row.low, row.high, worst);
}

template <class T>
T our_exp(T x) {
  return spikexla::exp(x);
}
template <class T>
T our_expm1(T x) {
  return spikexla::expm1(x);
}

template <class T>
void decay_ratio_near_zero(const char* type, double bound) {
  check(spikexla::decay_ratio(T(0)) == T(1), std::string(type) + " decay_ratio(0) is 1");
  std::mt19937_64 rng(8);
  double worst = 0, worst_slope = 0;
  for (int k = 0; k < 200000; ++k) {
    const T z = T(std::pow(10.0, uniform(rng, -6, 1)));
    const long double w = z, ratio = -expm1l(-w) / w;
    // (e^-z - ratio) / z cancels in any fixed type: below 1e-3 its series is exact enough.
    const long double slope =
        w < 1e-3L ? -0.5L + w / 3 - w * w / 8 + w * w * w / 30 : (expl(-w) - ratio) / w;
    worst = std::fmax(worst, ulps<T>(spikexla::decay_ratio(z), ratio));
    const T got = spikexla::decay_ratio_slope(z, spikexla::decay_ratio(z));
    worst_slope = std::fmax(worst_slope, double(std::fabs((got - slope) / slope)));
  }
  check(worst <= 4, std::string(type) + " decay_ratio: " + std::to_string(worst) + " ulp");
  check(worst_slope <= bound,
        std::string(type) + " decay_ratio_slope: relative error " + std::to_string(worst_slope));
  std::printf("%-7s decay_ratio %.2f ulp, its slope %.2g relative\n", type, worst, worst_slope);
}

}  // namespace

int main() {
  worst_error<float>("float", {"exp", -87, 88, 1.5}, our_exp<float>, expl);
  worst_error<double>("double", {"exp", -708, 709, 1.5}, our_exp<double>, expl);
  for (const double range : {1e-6, 1e-3, 0.1, 0.3466, 1.0, 80.0}) {
    worst_error<float>("float", {"expm1", -range, range, 2.5}, our_expm1<float>, expm1l);
    worst_error<double>("double", {"expm1", -range, range, 2.5}, our_expm1<double>, expm1l);
  }
  decay_ratio_near_zero<float>("float", 2e-4);
  decay_ratio_near_zero<double>("double", 1e-7);
  check(spikexla::exp(-1e30f) < 2e-38f, "float exp far below its range is tiny");
  check(spikexla::exp(1e30f) > 1e38f, "float exp far above its range is huge");
  check(spikexla::exp(0.0) == 1.0 && spikexla::expm1(0.0) == 0.0, "exp(0) and expm1(0) are exact");
  return summary();
}
