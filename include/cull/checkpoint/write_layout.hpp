// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include <cull/checkpoint/execute.hpp>
#include <cull/checkpoint/make_job.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Throws where one directory lies in the other, by whatever name.
inline void check_apart(std::filesystem::path const& source, std::filesystem::path const& parent,
                        std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  auto const contains = [](fs::path const& outer, fs::path const& inner) {
    for (auto at = fs::canonical(inner);; at = at.parent_path()) {
      if (fs::equivalent(at, outer)) return true;
      if (at == at.parent_path()) return false;
    }
  };
  auto partial = out;
  partial += ".partial";
  if (contains(source, parent) || (fs::exists(partial) && contains(partial, source)))
    throw error{
        errc::already_exists, "lies inside the source model, or that in it; choose a directory apart", {.file = out.string()}};
}

/// Output and source must be different trees.
inline void check_destination(checkpoint const& model, std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  if (fs::exists(fs::symlink_status(out)))
    throw error{errc::already_exists, "exists; remove it or choose another directory", {.file = out.string()}};
  auto const parent = out.has_parent_path() ? out.parent_path() : fs::path{"."};
  if (!fs::is_directory(parent))
    throw error{errc::not_found, "there is no such directory to write into", {.file = parent.string()}};
  check_apart(model.dir(), parent, out);
}

/// Writes a layout to the new directory `out`.
template <checkpoint_io Io>
apply_report write_layout(Io& io, checkpoint const& model, output_layout& layout, std::filesystem::path out,
                          apply_options const& options) {
  if (!out.has_filename()) out = out.parent_path();
  check_destination(model, out);
  auto report = execute(io, make_job(io, model, layout), out, options);
  for (auto const& path : layout.left_behind) report.left_behind.push_back(path.string());
  return report;
}

}  // namespace detail

CULL_NAMESPACE_END
