// SPDX-License-Identifier: Apache-2.0
// For users: products, experts and token grouping, on the CPU.
#pragma once

#include <cull/cpu/expert_mlp.hpp>
#include <cull/cpu/matmul.hpp>
#include <cull/cpu/run_experts.hpp>
#include <cull/expert/activation.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/expert/expert_norms.hpp>
#include <cull/expert/gelu.hpp>
#include <cull/expert/matmul.hpp>
#include <cull/expert/moe_layer.hpp>
#include <cull/expert/precision.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/expert/token_groups.hpp>
