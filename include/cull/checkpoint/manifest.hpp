// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

inline constexpr char manifest_file_name[] = "cull-manifest.json";

/// A written file: path relative to the checkpoint, size, and XXH128 as `xxhsum -H2` prints it.
struct written_file {
  std::string name;
  std::uint64_t bytes = 0;
  std::string xxh128;
  friend bool operator==(written_file const&, written_file const&) = default;
};

/// cull-manifest.json, the last file of a checkpoint: without it the directory is not complete. The same files give the same
/// text. `added`: those of the files that go with the checkpoint and are no part of the model, ascending.
inline std::string manifest_text(std::string const& plan_digest, std::vector<written_file> files,
                                 std::vector<std::string> const& added = {}) {
  std::sort(files.begin(), files.end(), [](auto const& a, auto const& b) { return a.name < b.name; });
  std::string out =
      "{\n  \"format\": \"cull-manifest\",\n  \"version\": 1,\n  \"plan_xxh128\": \"" + plan_digest + "\",\n  \"files\": {";
  char const* separator = "\n";
  for (auto const& f : files) {
    out += separator + ("    " + detail::json_string(f.name)) + ": {\"bytes\": " + std::to_string(f.bytes) + ", \"xxh128\": \"" +
           f.xxh128 + "\"}";
    separator = ",\n";
  }
  out += "\n  }";
  if (!added.empty()) out += ",\n  \"added\": " + detail::json_list(added);
  return out + "\n}\n";
}

CULL_NAMESPACE_END
