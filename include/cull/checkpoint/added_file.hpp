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

/// Makes such files for a directory that holds a complete checkpoint, whatever it is called. A file of the source that has one of
/// the names is kept beside it, as README.base.md, or README.base.2.md where the source has that too, before `make` is called.
struct file_adder {
  std::vector<std::string> names;  ///< of exactly what `make` gives; looked at before a byte is written
  /// `digests`: by XXH128, what `apply_report::digests` has of the directory's files.
  std::function<std::vector<added_file>(std::filesystem::path const& dir, std::map<std::string, std::string> const& digests)>
      make;
};

/// Of an added one's keys only those of sampling may differ from the source's; `verify` looks.
inline constexpr char generation_config_name[] = "generation_config.json";
inline constexpr char card_file_name[] = "README.md";

/// The list that `sha256sum -c` reads, where it was asked for.
inline constexpr char sha256_file_name[] = "SHA256SUMS";

namespace detail {

inline bool is_checksum_file(std::string const& name) { return name == sha256_file_name; }

/// Whether a name is that of one of the files, or of a folder that they lie in.
inline bool is_taken(std::set<std::string> const& files, std::string const& name) {
  if (files.contains(name)) return true;
  auto const inside = files.lower_bound(name + '/');
  return inside != files.end() && inside->starts_with(name + '/');
}

/// Where the source's file of that name is kept; `source`: all that is taken over of it.
inline std::string kept_name(std::string const& name, std::set<std::string> const& source) {
  std::filesystem::path const path{name};
  auto const begin = path.stem().string() + ".base", end = path.extension().string();
  auto out = begin + end;
  for (int n = 2; is_taken(source, out); ++n) out = begin + '.' + std::to_string(n) + end;
  return out;
}

/// The name whose file is kept under this one; empty: it is no such name.
inline std::string original_name(std::string const& name) {
  auto stem = name;
  std::string end;
  if (!name.starts_with(sha256_file_name)) {
    std::filesystem::path const path{name};
    stem = path.stem().string();
    end = path.extension().string();
  }
  auto const dot = stem.find_last_not_of("0123456789");
  if (dot != std::string::npos && dot + 1 < stem.size() && stem[dot] == '.') stem.resize(dot);
  if (!stem.ends_with(".base")) return {};
  return stem.substr(0, stem.size() - 5) + end;
}

/// Cards, pages and the like; nothing that a loader reads, but for the sampling defaults.
inline bool may_be_added(std::string const& name) {
  static std::set<std::string> const kinds{".md", ".yml", ".yaml", ".html"};
  if (name.empty() || name.front() == '.' || name.find_first_of("/\n") != std::string::npos) return false;
  auto const original = original_name(name);
  auto const& own = original.empty() ? name : original;
  return own == generation_config_name || is_checksum_file(own) ||
         kinds.contains(std::filesystem::path{own}.extension().string());
}

}  // namespace detail
CULL_NAMESPACE_END
