// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <cull/checkpoint/journal.hpp>
#include <cull/checkpoint/layout_writer.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// What the output depends on: layouts and texts stand for headers, config and plan.
inline std::string job_digest(output_layout const& layout) {
  hasher hash;
  hash.add(std::string_view{version_string});
  hash.add(layout.made_for);
  for (auto const& shard : layout.shards) {
    hash.add(shard.name);
    hash.add(shard.layout.header);
    for (auto const& origin : shard.origins) hash.add(origin.source == nullptr ? std::string{} : origin.source->name);
  }
  for (auto const& text : layout.texts) hash.add(text.text);
  for (auto const& side : layout.side_files) hash.add(side.string());
  return hash.hex();
}

inline std::string plan_digest(output_layout const& layout) {
  for (auto const& text : layout.texts) {
    if (text.name == plan_file_name) return hex_digest(std::as_bytes(std::span{text.text}));
  }
  return {};
}

/// Output and source must be different trees.
inline void check_destination(checkpoint const& model, std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  if (fs::exists(fs::symlink_status(out))) {
    throw error{errc::already_exists, "exists; remove it or choose another directory", {.file = out.string()}};
  }
  auto const parent = out.has_parent_path() ? out.parent_path() : fs::path{"."};
  if (!fs::is_directory(parent))
    throw error{errc::not_found, "there is no such directory to write into", {.file = parent.string()}};
  auto const source = fs::canonical(model.dir());
  for (auto at = fs::canonical(parent);; at = at.parent_path()) {
    if (at == source)
      throw error{errc::already_exists, "lies inside the source model; choose a directory outside", {.file = out.string()}};
    if (at == at.parent_path()) break;
  }
}

inline void check_space(std::filesystem::path const& dir, std::uint64_t needed) {
  std::error_code code;
  auto const space = std::filesystem::space(dir, code);
  if (!code && space.available < needed) {
    throw error{errc::io,
                "needs " + std::to_string(needed) + " bytes, " + std::to_string(space.available) + " are free",
                {.file = dir.string()}};
  }
}

/// Writes a layout to the new directory `out`: to `<out>.partial` with a journal, renamed at the end.
inline apply_report write_layout(checkpoint const& model, output_layout const& layout, std::filesystem::path out,
                                 apply_options const& options) {
  namespace fs = std::filesystem;
  check_destination(model, out);
  fs::path partial = out;
  partial += ".partial";
  fs::create_directory(partial);
  apply_report report;
  {
    journal log{partial / ".cull-journal", job_digest(layout)};
    if (log.finished().empty()) check_space(partial, layout.bytes);
    layout_writer writer{model, layout, partial, options, log};
    report.files = writer.write();
    report.resumed = writer.resumed();
    auto const manifest = manifest_text(plan_digest(layout), report.files);
    write_file(partial / manifest_file_name, manifest, overwrite::yes);
    report.files.push_back({manifest_file_name, manifest.size(), hex_digest(std::as_bytes(std::span{manifest}))});
    fs::remove(partial / ".cull-journal");
    if (::rename(partial.c_str(), out.c_str()) != 0) throw_errno("cannot be renamed into place", out);
  }
  sync_directory(out.parent_path());
  for (auto const& f : report.files) report.bytes += f.bytes;
  for (auto const& path : layout.left_behind) report.left_behind.push_back(path.string());
  return report;
}

}  // namespace detail

CULL_NAMESPACE_END
