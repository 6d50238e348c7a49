// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/shard_checker.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// `model-00003-of-00282.safetensors` is stem `model`, digits `00003`.
struct numbered_shard {
  std::string_view stem;
  std::string_view digits;
};

/// Nothing where a name is not numbered in that way.
inline std::optional<numbered_shard> as_numbered(std::string_view name) {
  auto const take = [&](std::string_view end) {
    bool const has = name.ends_with(end);
    if (has) name.remove_suffix(end.size());
    return has;
  };
  auto const take_digits = [&] {
    auto const from = name.find_last_not_of("0123456789") + 1;
    auto const digits = name.substr(from);
    name = name.substr(0, from);
    return digits;
  };
  if (!take(".safetensors") || take_digits().empty() || !take("-of-")) return {};
  auto const digits = take_digits();
  if (digits.empty() || !take("-")) return {};
  return numbered_shard{name, digits};
}

/// What is wrong with how tensors lie in shards, what the shards are called and
/// say; worked out from what was found in them.
class shard_rules {
 public:
  shard_rules(checkpoint const& model, std::uint64_t shard_bytes, std::map<std::string, shard_findings> const& found)
      : model_(model), shard_bytes_(shard_bytes), found_(found) {}

  std::vector<std::string> failures() {
    if (shard_bytes_ > 0) {
      check_sizes();
    } else {
      check_layout();
    }
    return std::move(failures_);
  }

 private:
  std::string source_name(int shard) const { return model_.shards()[static_cast<std::size_t>(shard)].path().filename().string(); }

  /// The source's shards, under their numbers where none has vanished, closed
  /// up otherwise.
  void check_layout() {
    std::set<int> alive;
    for (auto const& [name, shard] : found_) alive.insert(shard.sources.begin(), shard.sources.end());
    for (auto const& [name, shard] : found_) {
      if (shard.sources.empty()) continue;
      std::set<int> const from(shard.sources.begin(), shard.sources.end());
      if (from.size() != 1) {
        failures_.push_back(name + ": holds tensors of " + std::to_string(from.size()) + " shards of the source");
        continue;
      }
      if (auto const wanted = name_after(*from.begin(), alive); wanted != name)
        failures_.push_back(name + ": should be called " + wanted);
      auto metadata = model_.shards()[static_cast<std::size_t>(*from.begin())].metadata();
      check_metadata(name, metadata, shard);
    }
  }
  std::string name_after(int source, std::set<int> const& alive) const {
    auto const name = source_name(source);
    auto const own = as_numbered(name);
    if (!own) return name;
    int rank = 0, count = 0, all = 0;
    for (int s = 0; s < static_cast<int>(model_.shards().size()); ++s) {
      auto const text = source_name(s);
      auto const other = as_numbered(text);
      if (!other || other->stem != own->stem) continue;
      ++all;
      count += alive.contains(s) ? 1 : 0;
      rank += alive.contains(s) && s <= source ? 1 : 0;
    }
    if (count == all) return name;
    auto const padded = [&](int n) {
      auto const digits = std::to_string(n);
      return std::string(std::max<std::size_t>(own->digits.size(), digits.size()) - digits.size(), '0') + digits;
    };
    return std::string{own->stem} + "-" + padded(rank) + "-of-" + padded(count) + ".safetensors";
  }

  void check_sizes() {
    std::map<std::string, std::string> common;
    for (auto const& shard : model_.shards()) {
      for (auto const& [key, value] : shard.metadata()) {
        bool const everywhere =
            std::all_of(model_.shards().begin(), model_.shards().end(),
                        [&, &k = key, &v = value](auto const& s) { return s.metadata().contains(k) && s.metadata().at(k) == v; });
        if (everywhere) common[key] = value;
      }
    }
    std::size_t number = 0;
    for (auto const& [name, shard] : found_) {
      ++number;
      check_metadata(name, common, shard);
      char wanted[64];
      std::snprintf(wanted, sizeof wanted, "model-%05zu-of-%05zu.safetensors", number, found_.size());
      if (name != (found_.size() == 1 ? "model.safetensors" : wanted)) failures_.push_back(name + ": should be called " + wanted);
      if (shard.data_bytes > shard_bytes_ && shard.tensors.size() > 1)
        failures_.push_back(name + ": holds more than " + std::to_string(shard_bytes_) + " bytes of tensors");
    }
  }

  void check_metadata(std::string const& name, std::map<std::string, std::string> wanted, shard_findings const& shard) {
    wanted.emplace("format", "pt");
    if (shard.metadata != wanted) failures_.push_back(name + ": metadata is not the source's");
  }

  checkpoint const& model_;
  std::uint64_t shard_bytes_;
  std::map<std::string, shard_findings> const& found_;
  std::vector<std::string> failures_;
};

}  // namespace detail
CULL_NAMESPACE_END
