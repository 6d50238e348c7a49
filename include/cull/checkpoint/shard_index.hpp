// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// model.safetensors.index.json: which file holds which tensor.
struct shard_index {
  struct entry {
    std::string tensor;
    std::uint32_t shard = 0;  ///< place in `shards`
  };

  std::vector<std::string> shards;          ///< file names, in the order of the index
  std::vector<entry> tensors;               ///< ascending by name
  std::optional<std::uint64_t> total_size;  ///< bytes of all tensors, if it says
  std::vector<std::string> warnings;        ///< what is unusual but not wrong

  entry const* find(std::string_view tensor) const {
    auto const found =
        std::lower_bound(tensors.begin(), tensors.end(), tensor, [](entry const& e, auto const& n) { return e.tensor < n; });
    return found != tensors.end() && found->tensor == tensor ? &*found : nullptr;
  }
};

CULL_NAMESPACE_END
