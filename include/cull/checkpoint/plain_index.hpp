// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/index_parser.hpp>
#include <cull/checkpoint/order.hpp>
#include <cull/checkpoint/plain_json.hpp>
#include <cull/checkpoint/shard_index.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads an index that is right, plainly spelled and says its total_size, to what `index_parser` and `sort_index` make of it;
/// anything else is for them: false, and the index is to be emptied.
class plain_index {
 public:
  explicit plain_index(shard_index& out) : out_(out) {}

  bool parse(std::string_view text) {
    plain_json in{text};
    bool has_map = false, has_metadata = false;
    bool const read = in.object([&](std::string_view key) {
      if (key == "weight_map") return !std::exchange(has_map, true) && map(in);
      return key == "metadata" && !std::exchange(has_metadata, true) && metadata(in);
    });
    return read && has_map && out_.total_size && in.at_end() && sort();
  }

 private:
  bool metadata(plain_json& in) {
    std::vector<std::string_view> seen;
    return in.object([&](std::string_view key) {
      if (std::find(seen.begin(), seen.end(), key) != seen.end() || seen.size() == 64) return false;
      seen.push_back(key);
      std::string_view text;
      if (key != "total_size") return in.string(text);
      std::uint64_t total = 0;
      if (!in.number(total)) return false;
      out_.total_size = total;
      return true;
    });
  }

  bool map(plain_json& in) {
    std::unordered_map<std::string_view, std::uint32_t> numbers;
    return in.object([&](std::string_view tensor) {
      std::string_view shard;
      if (tensor.size() > max_name_bytes || !in.string(shard)) return false;
      auto const [at, fresh] = numbers.try_emplace(shard, static_cast<std::uint32_t>(out_.shards.size()));
      if (fresh) {
        if (!is_shard_name(shard)) return false;
        out_.shards.emplace_back(shard);
      }
      out_.tensors.push_back({std::string{tensor}, at->second});
      return true;
    });
  }

  bool sort() {
    auto const before = [](auto const& a, auto const& b) { return a.tensor < b.tensor; };
    sort_runs(out_.tensors, before);
    auto const same = [](auto const& a, auto const& b) { return a.tensor == b.tensor; };
    return std::adjacent_find(out_.tensors.begin(), out_.tensors.end(), same) == out_.tensors.end();
  }

  shard_index& out_;
};

}  // namespace detail
CULL_NAMESPACE_END
