// Every model's step_vjp against central differences of its step, with no Python in the way.
//
// `step` is smooth between spikes, so states are drawn clear of the threshold and the surrogate's
// slope is 0 first. The surrogate's part is linear in its slope: it is checked as a difference of
// two calls.
#include "models.h"

#include <cmath>
#include <cstring>
#include <sstream>
#include <vector>

#include "check.h"
#include "pack.h"

using namespace spikexla;
using namespace spikexla_test;

namespace {

std::vector<std::string> words(const char* text) {
  std::istringstream stream(text);
  std::vector<std::string> out;
  for (std::string word; stream >> word;) out.push_back(word);
  return out;
}

bool counts_steps(const std::string& name) { return name == "refractory" || name == "hold"; }

// A plausible number for a field of this name; what is not listed is of order one.
double plausible(const std::string& name, std::mt19937_64& rng) {
  if (name == "V") return uniform(rng, -64, -42);
  if (name == "V_th") return -50;
  if (name == "V_rest" || name == "V_reset") return uniform(rng, -64, -58);
  if (name == "I") return uniform(rng, -5, 20);
  if (name == "jump") return uniform(rng, -3, 3);
  if (name == "scale") return uniform(rng, 0.05, 0.2);
  if (counts_steps(name)) return double(rng() % 3);
  return uniform(rng, 0.05, 0.5);
}

template <class Pack>
Pack draw(const std::vector<std::string>& names, std::mt19937_64& rng) {
  std::vector<double> fields;
  for (const auto& name : names) fields.push_back(plausible(name, rng));
  Pack pack;
  std::memcpy(&pack, fields.data(), sizeof pack);
  return pack;
}

template <class Pack>
double& field(Pack& pack, int k) {
  return reinterpret_cast<double*>(&pack)[k];
}

template <class Model>
struct Trial {
  using State = typename Model::template State<double>;
  using Params = typename Model::template Params<double>;
  using Inputs = typename Model::template Inputs<double>;
  static constexpr int S = size_of<State, double>, P = size_of<Params, double>,
                       X = size_of<Inputs, double>;
  State state;
  Params params;
  Inputs inputs;
  bool hard;

  State next() const {
    State s = state;
    Model::step(s, params, inputs, hard);
    return s;
  }
  bool spiked() const { return Model::distance(state, params) >= 0; }
  bool clear() const {
    return std::fabs(Model::distance(state, params)) > 0.02 &&
           std::fabs(Model::distance(next(), params)) > 0.02;
  }
};

template <class T>
struct Gradients {
  typename T::State state;
  typename T::Params params;
  typename T::Inputs inputs;
};

template <class Model>
Gradients<Trial<Model>> vjp(const Trial<Model>& t, const typename Trial<Model>::State& ds,
                            double slope, double next_slope, double d_spike) {
  Gradients<Trial<Model>> g{ds, {}, {}};
  Model::template step_vjp<true>(t.state, t.next(), t.params, t.inputs, t.hard, slope, next_slope,
                                 d_spike, g.state, g.params, g.inputs);
  return g;
}

// d/dx of sum_k w_k next_k by central differences, where x is the field that `at` points to in a
// copy.
template <class Model, class At>
double central(const Trial<Model>& t, const typename Trial<Model>::State& w, const At& at) {
  Trial<Model> low = t, high = t;
  const double h = 1e-6 * (1 + std::fabs(at(low)));
  at(low) -= h;
  at(high) += h;
  auto a = low.next(), b = high.next();
  auto weights = w;
  double sum = 0;
  const auto names = words(Model::kState);
  for (int k = 0; k < Trial<Model>::S; ++k)
    if (!counts_steps(names[k])) sum += field(weights, k) * (field(b, k) - field(a, k));
  return sum / (2 * h);
}

void near(const std::string& what, double got, double want, double size) {
  check(std::fabs(got - want) <= 1e-6 * (1 + size), what + ": step_vjp says " +
                                                        std::to_string(got) + ", differences say " +
                                                        std::to_string(want));
}

template <class Model>
void smooth_part(const Trial<Model>& t, const typename Trial<Model>::State& w) {
  using Tr = Trial<Model>;
  const auto states = words(Model::kState), params = words(Model::kParams),
             inputs = words(Model::kInputs);
  Gradients<Tr> g = vjp(t, w, 0, 0, 0);
  const std::string name = std::string(Model::kName) + (t.hard ? " hard" : " soft") +
                           (t.spiked() ? " after a spike, d_" : ", d_");
  for (int k = 0; k < Tr::S; ++k) {
    if (counts_steps(states[k])) continue;
    double want = central(t, w, [k](Tr& x) -> double& { return field(x.state, k); });
    if (t.hard && t.spiked() && states[k] == "V") {
      // The V that a hard reset takes off is a constant to the gradient, so V passes like V_reset.
      for (int j = 0; j < Tr::P; ++j)
        if (params[j] == "V_reset")
          want = central(t, w, [j](Tr& x) -> double& { return field(x.params, j); });
    }
    near(name + states[k], field(g.state, k), want, std::fabs(want));
  }
  for (int k = 0; k < Tr::P; ++k) {
    if (counts_steps(params[k])) continue;
    const double want = central(t, w, [k](Tr& x) -> double& { return field(x.params, k); });
    near(name + params[k], field(g.params, k), want, std::fabs(want));
  }
  for (int k = 0; k < Tr::X; ++k) {
    const double want = central(t, w, [k](Tr& x) -> double& { return field(x.inputs, k); });
    near(name + inputs[k], field(g.inputs, k), want, std::fabs(want));
  }
}

// The spike of this step moves with the new state: d_spike next_slope d(distance)/d(...).
template <class Model>
void surrogate_part(const Trial<Model>& t) {
  using Tr = Trial<Model>;
  const auto params = words(Model::kParams), inputs = words(Model::kInputs);
  const double d_spike = 0.7, slope = 0.4;
  typename Tr::State none{};
  Gradients<Tr> g = vjp(t, none, 0, slope, d_spike);
  const auto change = [&](auto at) {
    Tr low = t, high = t;
    const double h = 1e-6 * (1 + std::fabs(at(low)));
    at(low) -= h;
    at(high) += h;
    return d_spike * slope *
           (Model::distance(high.next(), high.params) - Model::distance(low.next(), low.params)) /
           (2 * h);
  };
  const std::string name = std::string(Model::kName) + " spike, d_";
  for (int k = 0; k < Tr::P; ++k) {
    if (counts_steps(params[k])) continue;
    const double want = change([k](Tr& x) -> double& { return field(x.params, k); });
    near(name + params[k], field(g.params, k), want, std::fabs(want));
  }
  for (int k = 0; k < Tr::X; ++k) {
    const double want = change([k](Tr& x) -> double& { return field(x.inputs, k); });
    near(name + inputs[k], field(g.inputs, k), want, std::fabs(want));
  }
  // The slope of the last step's spike enters linearly.
  const auto at = [&](double s) {
    auto pulled = vjp(t, none, s, slope, d_spike);
    return field(pulled.state, 0);
  };
  near(name + "slope", at(0.8) - at(0.4), at(0.4) - at(0.0), std::fabs(at(0.8)));
}

template <class Model>
void test_model() {
  std::mt19937_64 rng(3);
  int spikes = 0, silent = 0;
  for (int k = 0; k < 4000; ++k) {
    Trial<Model> t{draw<typename Trial<Model>::State>(words(Model::kState), rng),
                   draw<typename Trial<Model>::Params>(words(Model::kParams), rng),
                   draw<typename Trial<Model>::Inputs>(words(Model::kInputs), rng), k % 2 == 1};
    if (!t.clear()) continue;
    ++(t.spiked() ? spikes : silent);
    typename Trial<Model>::State w;
    for (int f = 0; f < Trial<Model>::S; ++f) field(w, f) = uniform(rng, -1, 1);
    smooth_part(t, w);
    surrogate_part(t);
  }
  check(spikes > 100 && silent > 100, std::string(Model::kName) + ": too few trials of a kind");
}

template <class... M>
void test_all(TypeList<M...>) {
  (test_model<M>(), ...);
}

}  // namespace

int main() {
  test_all(Models{});
  return summary();
}
