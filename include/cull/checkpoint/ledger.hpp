// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Bytes by role, from headers alone.
struct ledger {
  struct row {
    std::string role;
    std::int64_t tensors = 0;
    std::uint64_t bytes = 0;
  };
  std::vector<row> rows;  ///< in the family's order of roles
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;  ///< of all tensors: the index's total_size

  void add(std::string_view role, std::uint64_t size) {
    auto const found = std::find_if(rows.begin(), rows.end(), [&](row const& r) { return r.role == role; });
    auto& to = found != rows.end() ? *found : rows.emplace_back(row{std::string{role}});
    ++to.tensors;
    to.bytes += size;
    ++tensors;
    bytes += size;
  }
};

/// The ledger of a list of tensors.
inline ledger make_ledger(family const& of, std::vector<tensor_info> const& tensors) {
  ledger unordered;
  for (auto const& t : tensors) unordered.add(role_of(of, t.name), t.bytes());
  ledger out{{}, unordered.tensors, unordered.bytes};
  auto const take = [&](std::string_view role) {
    auto const found = std::find_if(unordered.rows.begin(), unordered.rows.end(), [&](auto const& r) { return r.role == role; });
    if (found == unordered.rows.end()) return;
    out.rows.push_back(*found);
    unordered.rows.erase(found);
  };
  for (auto const& pattern : of.roles) take(pattern.role);
  take("other");
  return out;
}

CULL_NAMESPACE_END
