// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/checkpoint/write_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// All that `apply` would do.
struct prepared_output {
  write_job job;        ///< as ranges of bytes
  cull::ledger ledger;  ///< of the output
};

/// A pure function of headers, config, plan and, for `input_scales::max`, scalars.
inline prepared_output prepare(checkpoint const& model, pruning_plan const& plan) {
  posix_io io;
  auto const layout = lay_out(model, plan);
  return {detail::make_job(io, model, *layout), layout->ledger};
}

/// Writes the pruned checkpoint to the new directory `out`: survivors' bytes
/// verbatim, experts renumbered densely, router rows and correction biases
/// gathered, config, quantisation config and index rewritten, other files
/// copied, the plan and a manifest added.
///
/// A pure function of source and plan: the same bytes every time. Crash-safe
/// and resumable: everything is written to
/// `<out>.partial` with a journal and renamed at the end; calling again after
/// an interruption goes on. Throws `errc::bad_plan`, `errc::same_tree`,
/// `errc::already_exists`, `errc::io`, `errc::cancelled`; `out` exists only after success.
template <checkpoint_io Io>
apply_report apply(Io& io, checkpoint const& model, pruning_plan const& plan, std::filesystem::path const& out,
                   apply_options const& options = {}) {
  return detail::write_layout(io, model, *lay_out(model, plan), out, options);
}
inline apply_report apply(checkpoint const& model, pruning_plan const& plan, std::filesystem::path const& out,
                          apply_options const& options = {}) {
  posix_io io;
  return apply(io, model, plan, out, options);
}

CULL_NAMESPACE_END
