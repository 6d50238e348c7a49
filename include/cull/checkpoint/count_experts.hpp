// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/model_settings.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Experts of every layer where the family's key has a list of different numbers: entry i is layer i's, 0 where it has none.
/// Empty where all are equal or there is no list.
inline std::vector<int> list_experts(family const& of, config_view const& stated) {
  family_config const config{of, stated};
  auto const path = of.per_layer_key.empty() ? std::nullopt : config.find(of.per_layer_key);
  if (!path) return {};
  std::vector<int> out;
  for (auto const n : stated.integers(*path)) {
    if (n < 0 || n > 65536)
      throw error{errc::bad_config, "'" + *path + "' has the number " + std::to_string(n), {.file = stated.file()}};
    out.push_back(static_cast<int>(n));
  }
  bool const same = std::all_of(out.begin(), out.end(), [&](int n) { return n == out.front(); });
  return same ? std::vector<int>{} : out;
}

/// The number of experts, which every alias has to state alike; where layers differ, the most, and `per_layer_key` says the rest.
/// Throws `errc::bad_config`.
inline int count_experts(family const& of, config_view const& stated) {
  auto const listed = list_experts(of, stated);
  std::int64_t experts = listed.empty() ? 0 : *std::max_element(listed.begin(), listed.end());
  std::string first = listed.empty() ? std::string{} : of.per_layer_key;
  family_config const config{of, stated};
  for (auto const& key : of.count_keys) {
    for (auto const& path : config.find_all(key)) {
      if (!listed.empty() && key == of.per_layer_key) continue;
      auto const value = config.one_integer(path);
      if (first.empty()) {
        experts = value;
        first = path;
      } else if (value != experts) {
        throw error{errc::bad_config,
                    "'" + first + "' is " + std::to_string(experts) + " and '" + path + "' is " + std::to_string(value) +
                        "; one number of experts is wanted",
                    {.file = stated.file()}};
      }
    }
  }
  if (first.empty() || experts < 1 || experts > 65536) {
    throw error{errc::bad_config, "no usable number of experts under '" + of.count_keys[0] + "'", {.file = stated.file()}};
  }
  return static_cast<int>(experts);
}

}  // namespace detail

CULL_NAMESPACE_END
