// SPDX-License-Identifier: Apache-2.0
// For users: every number format and exact sum of cull.
#pragma once

#include <cull/numeric/bf16.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/numeric/e8m0.hpp>
#include <cull/numeric/exact_sum.hpp>
#include <cull/numeric/exp.hpp>
#include <cull/numeric/f16.hpp>
