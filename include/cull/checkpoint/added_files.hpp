// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A file that goes with a checkpoint and is no part of the model: its card, how to serve it.
struct added_file {
  std::string name;  ///< in the checkpoint's own directory
  std::string text;
};

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
  if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos) return false;
  return name == generation_config_name || is_checksum_file(name) || name == moved_name(sha256_file_name) ||
         name == moved_name(generation_config_name) || kinds.contains(std::filesystem::path{name}.extension().string());
}

inline json read_manifest(std::filesystem::path const& dir) {
  auto const path = dir / manifest_file_name;
  if (!std::filesystem::is_regular_file(path)) {
    throw error{errc::not_found, "is missing; the directory is not a complete checkpoint", {.file = path.string()}};
  }
  auto root = parse_json(slurp(path), path.string());
  if (!root.is_object() || !root.contains("files") || !root.at("files").is_object() || !root.contains("plan_xxh128")) {
    throw error{errc::json_syntax, "is not a manifest", {.file = path.string()}};
  }
  return root;
}

/// Names in a manifest's "added".
inline std::vector<std::string> added_names(json const& manifest) {
  std::vector<std::string> out;
  if (!manifest.contains("added") || !manifest.at("added").is_array()) return out;
  for (auto const& name : manifest.at("added")) {
    if (name.is_string()) out.push_back(name.get<std::string>());
  }
  return out;
}

/// What a file that stands for one of the source's has lost of it; empty: nothing.
inline std::string find_lost_source(std::filesystem::path const& source, std::filesystem::path const& dir,
                                    std::string const& name) {
  if (!std::filesystem::exists(source / name)) return {};
  if (!may_replace(name)) return name + ": replaces a file of the source";
  if (slurp(source / name) != slurp(dir / moved_name(name))) return moved_name(name) + ": is not the source's " + name;
  if (name != generation_config_name) return {};
  auto before = parse_json(slurp(source / name), name), after = parse_json(slurp(dir / name), name);
  for (auto const* key : {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "do_sample"}) {
    before.erase(key);
    after.erase(key);
  }
  return before == after ? std::string{}
                         : name + ": differs from the source's in more than sampling: " + json::diff(before, after).dump();
}

/// The manifest with the digests of added files as they are now.
inline std::string manifest_with(json const& manifest, std::filesystem::path const& dir, std::set<std::string> const& added) {
  std::vector<written_file> all;
  for (auto const& [name, entry] : manifest.at("files").items()) {
    if (!added.contains(name))
      all.push_back({name, entry.at("bytes").get<std::uint64_t>(), entry.at("xxh128").get<std::string>()});
  }
  for (auto const& name : added) all.push_back(digest_of(dir / name, name));
  return manifest_text(manifest.at("plan_xxh128").get<std::string>(), all, {added.begin(), added.end()});
}

}  // namespace detail

/// Adds text files to a checkpoint that `apply` wrote, each whole or not at all, the manifest last; it lists them apart, so that
/// `verify` accepts them and nothing else. What an earlier call added is replaced. Stopped in between, the directory fails
/// `verify` until the same call is made again; no byte of the model is touched. Throws `errc::not_found` (not a complete
/// checkpoint), `errc::already_exists` (the name is the model's), `errc::io`.
inline void add_files(std::filesystem::path const& dir, std::vector<added_file> const& files) {
  auto const manifest = detail::read_manifest(dir);
  auto const before = detail::added_names(manifest);
  std::set<std::string> added{before.begin(), before.end()};
  for (auto const& file : files) {
    auto const moved = detail::moved_name(file.name);
    bool const theirs = !added.contains(file.name) && std::filesystem::exists(dir / file.name);
    bool const movable = detail::may_replace(file.name) && (added.contains(moved) || !std::filesystem::exists(dir / moved));
    if (!detail::may_be_added(file.name) || (theirs && !movable)) {
      throw error{errc::already_exists, "cannot be added: the name belongs to the model", {.file = (dir / file.name).string()}};
    }
    if (theirs) {
      write_file(dir / moved, detail::slurp(dir / file.name), overwrite::yes);
      added.insert(moved);
    }
    write_file(dir / file.name, file.text, overwrite::yes);
    added.insert(file.name);
  }
  write_file(dir / manifest_file_name, detail::manifest_with(manifest, dir, added), overwrite::yes);
}

CULL_NAMESPACE_END
