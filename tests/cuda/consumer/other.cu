// SPDX-License-Identifier: Apache-2.0
#define PART other_part
#include "part.cuh"
