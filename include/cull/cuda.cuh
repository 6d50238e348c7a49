// SPDX-License-Identifier: Apache-2.0
// For users: the executor on_cuda, and every operation that it has.
#pragma once

#include <cull/cuda/combine.hpp>
#include <cull/cuda/copy_expert.hpp>
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/device_buffer.hpp>
#include <cull/cuda/expert_mlp.hpp>
#include <cull/cuda/expert_part.hpp>
#include <cull/cuda/matmul.hpp>
#include <cull/cuda/mdspan.cuh>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/on_cuda.cuh>
#include <cull/cuda/pinned_memory.cuh>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/cuda/route.hpp>
#include <cull/cuda/run_experts.hpp>
#include <cull/cuda/select.hpp>
#include <cull/cuda/stream_layer.cuh>
