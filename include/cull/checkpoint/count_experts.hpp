// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/model_settings.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The number of experts, which every alias has to state alike. Throws `errc::bad_config`.
inline int count_experts(family const& of, config_view const& stated) {
  std::int64_t experts = 0;
  std::string first;
  family_config const config{of, stated};
  for (auto const& key : of.count_keys) {
    for (auto const& path : config.find_all(key)) {
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
