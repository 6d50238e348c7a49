// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// A tensor of a checkpoint, as its header has it.
struct tensor_info {
  std::string name;
  dtype type = dtype::u8;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;  ///< first byte in its file
  std::uint64_t end = 0;    ///< one past the last
  int shard = 0;            ///< which of the checkpoint's files

  std::uint64_t bytes() const { return end - begin; }
  std::uint64_t elements() const {
    std::uint64_t product = 1;
    for (auto const n : shape) product *= n;
    return product;
  }
};

namespace detail {

/// The tensor of that name in a list that ascends by name, or null.
inline tensor_info const* find_tensor(std::vector<tensor_info> const& sorted, std::string_view name) {
  auto const found =
      std::lower_bound(sorted.begin(), sorted.end(), name, [](auto const& t, auto const& n) { return t.name < n; });
  return found != sorted.end() && found->name == name ? &*found : nullptr;
}

}  // namespace detail

CULL_NAMESPACE_END
