// xoshiro128++ of Blackman & Vigna (2021), "Scrambled linear pseudorandom number generators".
#pragma once

#include "portable.h"

SPIKEXLA_BEGIN

template <class Word>
SPIKEXLA_HD Word rotated(Word x, int k) {
  return (x << k) | (x >> (32 - k));
}

// The next word of a generator, or with a vector of uint32_t as `Word`, of one in each lane.
template <class Word>
SPIKEXLA_HD Word next_word(Word (&s)[4]) {
  const Word word = rotated<Word>(s[0] + s[3], 7) + s[0];
  const Word t = s[1] << 9;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotated<Word>(s[3], 11);
  return word;
}

SPIKEXLA_END
