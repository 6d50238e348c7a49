// SPDX-License-Identifier: Apache-2.0
// For users: the executor on_cpu with everything it implements.
#pragma once

#include <cull/cpu/add.hpp>
#include <cull/cpu/block_effects.hpp>
#include <cull/cpu/dequantize.hpp>
#include <cull/cpu/expert_mlp.hpp>
#include <cull/cpu/matmul.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/quantize.hpp>
#include <cull/cpu/route.hpp>
#include <cull/cpu/run_experts.hpp>
