// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/index_parser.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/plain_index.hpp>
#include <cull/checkpoint/shard_index.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

inline constexpr char index_file_name[] = "model.safetensors.index.json";
inline constexpr char single_file_name[] = "model.safetensors";

/// Reads the text of an index, once through, without a tree of it. Other members of "metadata" and of the whole may be anything.
/// Throws `errc::index_schema`, `bad_shard_name`, `bad_name`, `bad_integer`, `integer_range` (of total_size), `duplicate_key`,
/// and the codes of JSON, with the byte and the place.
inline shard_index parse_index(std::string_view text, std::string const& file, leniency const& allowed = {}) {
  shard_index out;
  if (detail::plain_index{out}.parse(text)) return out;
  out = {};
  auto const root = detail::json_root(text, detail::json_depth_limit, {.file = file});
  std::vector<std::uint32_t> places;
  auto const base = static_cast<std::uint64_t>(root.data() - text.data());
  detail::index_parser{root, file, base, allowed}.parse(out, places);
  detail::sort_index(out, places, base, file);
  return out;
}

inline shard_index read_index(std::filesystem::path const& path, leniency const& allowed = {}) {
  return parse_index(detail::read_text(path), path.string(), allowed);
}

CULL_NAMESPACE_END
