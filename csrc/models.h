// The neuron models of this library. To add one: write models/<name>.h and name it here.
#pragma once

#include "models/lif.h"

SPIKEXLA_BEGIN

template <class... M>
struct TypeList {};
using Models = TypeList<Lif, LifRef, LifCoba, LifRefCoba>;

SPIKEXLA_END
