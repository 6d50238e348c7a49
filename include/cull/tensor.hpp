// SPDX-License-Identifier: Apache-2.0
// For users: views, formats, scale layouts, quantize and dequantize, on the CPU.
#pragma once

#include <cull/cpu/dequantize.hpp>
#include <cull/cpu/quantize.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/buffers.hpp>
#include <cull/tensor/convert_dialect.hpp>
#include <cull/tensor/dequantize.hpp>
#include <cull/tensor/fp8.hpp>
#include <cull/tensor/gguf.hpp>
#include <cull/tensor/gguf_convert.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>
#include <cull/tensor/plain.hpp>
#include <cull/tensor/quantize.hpp>
#include <cull/tensor/quantize_block.hpp>
#include <cull/tensor/scale_layout.hpp>
#include <cull/tensor/view.hpp>
