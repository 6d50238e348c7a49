// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <cull/checkpoint/converted_layout.hpp>
#include <cull/checkpoint/write_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Writes the model with its experts in another format to the new directory `out`; every other tensor is the source's bytes,
/// config, quantisation config and index say what has changed, other files are copied, a manifest is added.
///
/// Dequantised values are the format's own (`dequantize`), quantised bytes those of nvidia-modelopt or compressed-tensors
/// (`quantize`), gate and up of an expert sharing a tensor scale. From one NVFP4 dialect to the other codes and block scales are
/// copied and tensor scales inverted. A scale of activations stays where every expert has one; without, the config says that only
/// weights are quantised.
///
/// Streamed, a matrix at a time; a pure function of the source, with `apply`'s guarantees: crash-safe, resumable, the same bytes
/// every time, whatever the threads of `exec`. Throws as `lay_out` and `apply`.
template <class Exec>
apply_report convert(Exec const& exec, checkpoint const& model, conversion const& wanted, std::filesystem::path const& out,
                     apply_options const& options = {}) {
  posix_io io;
  return detail::write_layout(io, model, *lay_out(exec, model, wanted), out, options);
}

CULL_NAMESPACE_END
