// A model's State<T>, Params<T> and Inputs<T> hold only T's, so each is a struct of names to the
// mathematics and a row of N numbers to the loops.
#pragma once

#include <cstring>
#include <utility>

#include "portable.h"

SPIKEXLA_BEGIN

template <class Pack, class T>
inline constexpr int size_of = sizeof(Pack) / sizeof(T);

// N base addresses by value: small enough for a CUDA kernel's argument list.
template <class T, int N>
struct Arrays {
  T* at[N];
};

template <class Pack, class T, int N, size_t... K>
SPIKEXLA_HD Pack load_fields(const Arrays<const T, N>& from, int64_t i, std::index_sequence<K...>) {
  return Pack{from.at[K][i]...};
}

template <class Pack, class T, int N>
SPIKEXLA_HD Pack load(const Arrays<const T, N>& from, int64_t i) {
  static_assert(N == size_of<Pack, T>);
  return load_fields<Pack, T, N>(from, i, std::make_index_sequence<N>{});
}

template <class Pack, class T, int N>
SPIKEXLA_HD void store(const Pack& pack, const Arrays<T, N>& to, int64_t i) {
  static_assert(N == size_of<Pack, T>);
#ifndef __CUDACC__
#pragma GCC unroll 16
#endif
  for (int k = 0; k < N; ++k) {
    T field;
    memcpy(&field, reinterpret_cast<const char*>(&pack) + k * sizeof(T), sizeof(T));
    to.at[k][i] = field;
  }
}

template <class T, int N>
SPIKEXLA_HD Arrays<const T, N> as_const(const Arrays<T, N>& a) {
  Arrays<const T, N> out;
  for (int k = 0; k < N; ++k) out.at[k] = a.at[k];
  return out;
}

SPIKEXLA_END
