// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/checkpoint/write_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Writes the pruned checkpoint to the new directory `out`: survivors' bytes verbatim, experts renumbered densely, router rows
/// and correction biases gathered, config, quantisation config and index rewritten, other files copied, the plan and a manifest
/// added.
///
/// A pure function of source and plan: the same bytes every time. Crash-safe and resumable: everything is written to
/// `<out>.partial` with a journal and renamed at the end; calling again after an interruption goes on. Throws `errc::bad_plan`,
/// `errc::already_exists`, `errc::io`, `errc::cancelled`; `out` exists only after success.
inline apply_report apply(checkpoint const& model, pruning_plan const& plan, std::filesystem::path out,
                          apply_options const& options = {}) {
  if (!out.has_filename()) out = out.parent_path();
  return detail::write_layout(model, *lay_out(model, plan), out, options);
}

CULL_NAMESPACE_END
