// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/names.hpp>
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
  std::vector<row> rows;  ///< routed experts first
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

namespace detail {

/// What a tensor is for, told by a part of its name; the first row that fits counts. Rows without a part are told by the family.
struct role_pattern {
  std::string_view part;
  std::string_view role;
};
inline constexpr role_pattern role_patterns[] = {
    {"", "routed experts"},
    {".shared_expert", "shared experts"},
    {".share_expert", "shared experts"},
    {".shared_mlp", "shared experts"},
    {"", "router"},
    {".indexer.", "indexer"},
    {".self_attn.", "attention"},
    {".linear_attn.", "attention"},
    {".mixer.", "attention"},
    {".conv.", "attention"},
    {".mlp.", "dense layers"},
    {".mlps.", "dense layers"},
    {".feed_forward.", "dense layers"},
    {"embed", "embedding"},
    {"lm_head", "output head"},
    {"visual", "vision"},
    {"vision", "vision"},
    {"eh_proj", "MTP"},
    {"enorm", "MTP"},
    {"hnorm", "MTP"},
    {"shared_head", "MTP"},
    {"mtp.", "MTP"},
    {"norm", "norms"},
};

}  // namespace detail

inline constexpr std::string_view routed_experts_role = "routed experts";

/// What a tensor is for.
inline std::string_view role_of(family const& of, tensor_place const& place, std::string_view name) {
  switch (relation_of(of, place)) {
    case expert_relation::one_expert:
    case expert_relation::all_experts:
      return routed_experts_role;
    case expert_relation::router:
      return "router";
    case expert_relation::none:
      break;
  }
  for (auto const& row : detail::role_patterns) {
    if (!row.part.empty() && name.find(row.part) != std::string_view::npos) return row.role;
  }
  return "other";
}

namespace detail {

/// In the order of the roles.
inline ledger ordered(ledger unordered) {
  ledger out{{}, unordered.tensors, unordered.bytes};
  auto const take = [&](std::string_view role) {
    auto const found = std::find_if(unordered.rows.begin(), unordered.rows.end(), [&](auto const& r) { return r.role == role; });
    if (found == unordered.rows.end()) return;
    out.rows.push_back(*found);
    unordered.rows.erase(found);
  };
  for (auto const& pattern : role_patterns) take(pattern.role);
  take("other");
  return out;
}

inline void add_all(ledger& to, family const& of, int hidden_layers, std::vector<tensor_info> const& tensors) {
  for (auto const& t : tensors) to.add(role_of(of, locate(of, hidden_layers, t.name), t.name), t.bytes());
}

}  // namespace detail

/// The ledger of a list of tensors.
inline ledger make_ledger(family const& of, int hidden_layers, std::vector<tensor_info> const& tensors) {
  ledger out;
  detail::add_all(out, of, hidden_layers, tensors);
  return detail::ordered(std::move(out));
}

CULL_NAMESPACE_END
