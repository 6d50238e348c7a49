// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// A file that goes with a checkpoint and is no part of the model: its card, how to serve it.
struct added_file {
  std::string name;  ///< in the checkpoint's own directory
  std::string text;
};

/// Makes such files for a directory that holds a complete checkpoint, whatever it is called. `digests`: by XXH128, what
/// `apply_report::digests` has of its files.
using file_adder =
    std::function<std::vector<added_file>(std::filesystem::path const& dir, std::map<std::string, std::string> const& digests)>;

/// What may be added under a name that the source has; the source's own is kept beside it, as README.base.md and
/// generation_config.base.json. Of the latter's keys only those of sampling may differ; `verify` looks.
inline constexpr char card_file_name[] = "README.md";
inline constexpr char generation_config_name[] = "generation_config.json";

/// The list that `sha256sum -c` reads, where it was asked for.
inline constexpr char sha256_file_name[] = "SHA256SUMS";

namespace detail {

inline bool is_checksum_file(std::string const& name) { return name == sha256_file_name; }

/// Where the source's file of that name goes.
inline std::string moved_name(std::string const& name) {
  std::filesystem::path const path{name};
  return path.stem().string() + ".base" + path.extension().string();
}
inline bool may_replace(std::string const& name) {
  return name == card_file_name || name == generation_config_name || is_checksum_file(name);
}

/// Cards, pages and the like; nothing that a loader reads, but for the sampling defaults.
inline bool may_be_added(std::string const& name) {
  static std::set<std::string> const kinds{".md", ".yml", ".yaml", ".html"};
  if (name.empty() || name.front() == '.' || name.find_first_of("/\n") != std::string::npos) return false;
  return name == generation_config_name || is_checksum_file(name) || name == moved_name(sha256_file_name) ||
         name == moved_name(generation_config_name) || kinds.contains(std::filesystem::path{name}.extension().string());
}

}  // namespace detail
CULL_NAMESPACE_END
