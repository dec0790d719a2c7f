// Runs a grid, cluster by cluster.
#pragma once
#include "cluster.h"

namespace standin {

// Two clusters at a time, on threads of their own; the first failure ends the launch.
Failure launch(const Grid& grid, u64 seed);

}  // namespace standin
