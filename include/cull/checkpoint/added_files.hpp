// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/add_to_directory.hpp>
#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/io/posix_io.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

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

/// What a file that stands for one of the source's has lost of it; empty: nothing. `theirs`: all that is taken over.
inline std::string find_lost_source(std::filesystem::path const& source, std::set<std::string> const& theirs,
                                    std::filesystem::path const& dir, std::string const& name) {
  if (!theirs.contains(name)) return {};
  if (!original_name(name).empty()) return name + ": replaces a file of the source";
  auto const kept = kept_name(name, theirs);
  if (!std::filesystem::exists(dir / kept)) return kept + ": is missing, the source's " + name;
  if (slurp(source / name) != slurp(dir / kept)) return kept + ": is not the source's " + name;
  if (name != generation_config_name) return {};
  auto before = parse_json(slurp(source / name), name), after = parse_json(slurp(dir / name), name);
  for (auto const* key : {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "do_sample"}) {
    before.erase(key);
    after.erase(key);
  }
  return before == after ? std::string{}
                         : name + ": differs from the source's in more than sampling: " + json::diff(before, after).dump();
}

/// Files of a manifest.
inline std::vector<written_file> files_of(json const& manifest) {
  std::vector<written_file> out;
  for (auto const& [name, entry] : manifest.at("files").items())
    out.push_back({name, entry.at("bytes").get<std::uint64_t>(), entry.at("xxh128").get<std::string>()});
  return out;
}

}  // namespace detail

/// Adds text files to a checkpoint that `apply` wrote, each whole or not at all, the manifest last; it lists them apart, so that
/// `verify` accepts them and nothing else. What an earlier call added is replaced, or, where somebody has removed it, listed no
/// more. Stopped in between, the directory fails `verify` until the same call is made again; no byte of the model is touched.
/// Throws `errc::not_found` (not a complete checkpoint), `errc::already_exists` (of the names one cannot be added; nothing was
/// written), `errc::io`.
inline void add_made_files(std::filesystem::path const& dir, file_adder const& adder) {
  auto const manifest = detail::read_manifest(dir);
  auto const before = detail::added_names(manifest);
  std::vector<written_file> known;
  std::set<std::string> added;
  for (auto& file : detail::files_of(manifest)) {
    if (std::find(before.begin(), before.end(), file.name) == before.end()) {
      known.push_back(std::move(file));
    } else if (std::filesystem::exists(dir / file.name)) {
      // People write in cards.
      known.push_back(detail::digest_of(dir / file.name, file.name));
      added.insert(file.name);
    }
  }
  posix_io io;
  detail::directory_additions<posix_io> to{io, dir, manifest.at("plan_xxh128").get<std::string>(), known, std::move(added)};
  to.add(adder, {}, [](auto const&) {});
  to.write_manifest();
}
/// The same of files that are there already.
inline void add_files(std::filesystem::path const& dir, std::vector<added_file> const& files) {
  file_adder all{{}, [&](auto const&, auto const&) { return files; }};
  for (auto const& file : files) all.names.push_back(file.name);
  add_made_files(dir, all);
}

CULL_NAMESPACE_END
