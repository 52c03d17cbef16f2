// The sparse loops of the SIMD level that is being compiled.
#pragma once

#include "cpu/sparse_table.h"
#include "portable.h"

SPIKEXLA_BEGIN
namespace cpu {
extern const abi::SparseLoops kSparseLoops;
}
SPIKEXLA_END
