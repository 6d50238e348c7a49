// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/mapped_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

inline constexpr char index_file_name[] = "model.safetensors.index.json";
inline constexpr char single_file_name[] = "model.safetensors";

/// model.safetensors.index.json: which file holds which tensor.
struct shard_index {
  std::map<std::string, std::string> weight_map;
  std::optional<std::uint64_t> total_size;
};

namespace detail {

/// A shard is a plain name in the directory, whatever system wrote the index.
inline void check_shard_name(std::string const& shard, std::string const& file) {
  bool const plain = shard.ends_with(".safetensors") && shard.find_first_of("/\\:") == std::string::npos &&
                     !shard.starts_with('.') && shard.find('\0') == std::string::npos;
  if (!plain)
    throw error{errc::bad_index, "'" + shard + "' is not the name of a .safetensors file in this directory", {.file = file}};
}

}  // namespace detail

/// Reads an index. Throws `errc::bad_json`, `errc::bad_index`.
inline shard_index read_index(std::filesystem::path const& path) {
  auto const file = path.string();
  auto const root = detail::parse_json(detail::read_text(path), file);
  if (!root.is_object() || !root.contains("weight_map") || !root.at("weight_map").is_object()) {
    throw error{errc::bad_index, "has no object 'weight_map'", {.file = file}};
  }
  shard_index out;
  for (auto const& [tensor, shard] : root.at("weight_map").items()) {
    if (!shard.is_string()) throw error{errc::bad_index, "the shard must be a string", {.file = file, .tensor = tensor}};
    detail::check_shard_name(shard.get<std::string>(), file);
    out.weight_map.emplace(tensor, shard.get<std::string>());
  }
  if (root.contains("metadata") && root.at("metadata").is_object() && root.at("metadata").contains("total_size") &&
      root.at("metadata").at("total_size").is_number_unsigned()) {
    out.total_size = root.at("metadata").at("total_size").get<std::uint64_t>();
  }
  return out;
}

CULL_NAMESPACE_END
