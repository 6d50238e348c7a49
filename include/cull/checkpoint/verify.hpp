// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/verifier.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// Compares a pruned checkpoint with its source and plan, file by file and byte by byte, by other code than `apply`'s: every
/// tensor's bytes, names, shapes and rows; index, configs, plan, side files, nothing extra; sizes and digests in the manifest.
/// The report lists every difference. Throws `errc::bad_plan`, `errc::not_found`, `errc::cancelled`.
inline verify_report find_differences(checkpoint const& model, pruning_plan const& plan, std::filesystem::path const& dir,
                                      verify_options const& options = {}) {
  return detail::verifier{model, plan, dir, options}.run();
}

/// The same; throws `errc::verification_failed` with the first differences where there are any.
inline verify_report verify(checkpoint const& model, pruning_plan const& plan, std::filesystem::path const& dir,
                            verify_options const& options = {}) {
  auto report = find_differences(model, plan, dir, options);
  if (report.failures.empty()) return report;
  std::string what = std::to_string(report.failures.size()) + " differences; first: " + report.failures[0];
  for (std::size_t i = 1; i < std::min<std::size_t>(report.failures.size(), 3); ++i) what += "; " + report.failures[i];
  throw error{errc::verification_failed, what, {.file = dir.string()}};
}

CULL_NAMESPACE_END
