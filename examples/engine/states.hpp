// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>

#include <engine/calibrate.hpp>

namespace engine {

/// Calibration from recorded inputs of the MoE blocks, for models whose other layers this engine does not run: each file holds
/// for every MoE layer L `block_input.L` [tokens, hidden] (F32 or BF16; what the router sees) and `expert_input.L` where experts
/// see something else, and for the criterion easy_ep `residual.L`, the hidden states that the block's output is added to. A file
/// counts as one sequence; its digest is that of its tensors. Layers that no file has are an error. Throws cull::errc::not_found,
/// shape_mismatch, and what cull::safetensors_file throws.
calibration calibrate_from_states(cull::checkpoint const& model, cull::on_cpu exec, std::span<std::filesystem::path const> files,
                                  calibration_options const& options = {});

}  // namespace engine
