// SPDX-License-Identifier: Apache-2.0
#define PART engine_part
#include "part.cuh"
