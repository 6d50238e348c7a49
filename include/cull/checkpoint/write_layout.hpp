// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/directory_names.hpp>
#include <cull/checkpoint/execute.hpp>
#include <cull/checkpoint/make_job.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// True where a file of the model has a second name in that directory, as `cp -l` makes them.
inline bool holds_file_of(checkpoint const& model, std::filesystem::path const& dir) {
  auto const is_source = [&](std::filesystem::path const& path) {
    std::error_code unreadable;
    return std::filesystem::hard_link_count(path, unreadable) > 1 && !unreadable &&
           std::any_of(model.shards().begin(), model.shards().end(),
                       [&](auto const& shard) { return std::filesystem::equivalent(path, shard.path(), unreadable); });
  };
  auto const names = names_in(dir);
  return std::any_of(names.begin(), names.end(),
                     [&](auto const& name) { return name.ends_with(".safetensors") && is_source(dir / name); });
}

/// The directory by its own name. Throws `errc::io`, `errc::not_found`.
inline std::filesystem::path own_path(std::filesystem::path const& dir) {
  std::error_code problem;
  auto out = std::filesystem::canonical(dir, problem);
  if (problem) {
    throw error{problem == std::errc::no_such_file_or_directory ? errc::not_found : errc::io,
                "cannot be followed: " + problem.message(),
                {.file = dir.string()}};
  }
  return out;
}

/// Where the bytes of the model lie: its directory, and the hub cache's store of what its shards are links to. Other directories
/// that links lead into may be anything, a home for one.
inline std::vector<std::filesystem::path> directories_of(checkpoint const& model) {
  std::vector<std::filesystem::path> out{own_path(model.dir())};
  for (auto const& shard : model.shards()) {
    auto dir = own_path(shard.path()).parent_path();
    if (dir.filename() == "blobs" && std::find(out.begin(), out.end(), dir) == out.end()) out.push_back(std::move(dir));
  }
  return out;
}

/// Throws where one directory lies in the other, by whatever name.
inline void check_apart(checkpoint const& model, std::filesystem::path const& parent, std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  std::error_code unreadable;
  auto const contains = [&](fs::path const& outer, fs::path const& inner) {
    for (auto at = own_path(inner);; at = at.parent_path()) {
      if (fs::equivalent(at, outer, unreadable)) return true;
      if (at == at.parent_path()) return false;
    }
  };
  auto partial = out;
  partial += ".partial";
  auto const sources = directories_of(model);
  auto const inside = [&](fs::path const& dir) {
    if (!fs::is_directory(dir, unreadable)) return false;
    return std::any_of(sources.begin(), sources.end(), [&](auto const& source) { return contains(dir, source); }) ||
           holds_file_of(model, dir);
  };
  if (std::any_of(sources.begin(), sources.end(), [&](auto const& source) { return contains(source, parent); }) ||
      inside(out) || inside(partial))
    throw error{errc::same_tree,
                "is the source model, lies inside it, or holds it or files of it; choose a directory apart",
                {.file = out.string()}};
}

/// Output and source must be different trees.
inline void check_destination(checkpoint const& model, std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  std::error_code problem;
  auto const parent = out.has_parent_path() ? out.parent_path() : fs::path{"."};
  if (!fs::is_directory(parent, problem))
    throw error{errc::not_found, "there is no such directory to write into", {.file = parent.string()}};
  check_apart(model, parent, out);
  if (fs::symlink_status(out, problem).type() == fs::file_type::not_found) return;
  bool const whole = fs::exists(out / manifest_file_name, problem);
  throw error{errc::already_exists,
              whole ? "exists and has a manifest: it was finished, and verify proves it; remove it or choose another directory"
                    : "exists; remove it or choose another directory",
              {.file = out.string()}};
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
