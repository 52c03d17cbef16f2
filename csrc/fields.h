// The names of a model's fields, as it lists them: words with one blank between them.
#pragma once

#include "portable.h"

namespace spikexla {

// How many there are.
constexpr int count_fields(const char* names) {
  int n = *names ? 1 : 0;
  for (; *names; ++names) n += *names == ' ';
  return n;
}

// The place of one of them, or -1.
constexpr int place_of(const char* name, const char* names) {
  for (int place = 0; *names; ++place) {
    const char* letter = name;
    for (; *names && *names != ' '; ++names)
      letter = letter && *letter == *names ? letter + 1 : nullptr;
    if (letter && !*letter) return place;
    names += *names == ' ';
  }
  return -1;
}

// Whether a network can fill a model's inputs: it gives a current I, and to those who have them a
// conductance G and a jump, which is always 0.
constexpr bool takes_network_inputs(const char* names) {
  const int rest = (place_of("G", names) >= 0) + (place_of("jump", names) >= 0);
  return place_of("I", names) >= 0 && 1 + rest == count_fields(names);
}

}  // namespace spikexla
