// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// Gathers rows of router weights or correction biases as bytes: row i of the result is row `kept[i]` of the source, unchanged,
/// whatever the dtype. `source` holds rows of equal size one after the other, `experts` of them.
/// Throws `errc::shape_mismatch` or `errc::out_of_range`.
inline std::vector<std::byte> slice_router(std::span<std::byte const> source, std::int64_t experts, array_view<int const> kept) {
  if (experts <= 0 || source.size() % static_cast<std::size_t>(experts) != 0) {
    throw error{errc::shape_mismatch, "slice_router: " + std::to_string(source.size()) + " bytes are not " +
                                          std::to_string(experts) + " equal rows"};
  }
  auto const row = source.size() / static_cast<std::size_t>(experts);
  std::vector<std::byte> result;
  result.reserve(row * static_cast<std::size_t>(kept.size()));
  for (int const id : kept) {
    if (id < 0 || id >= experts) {
      throw error{errc::out_of_range, "slice_router: expert " + std::to_string(id) + " of " + std::to_string(experts)};
    }
    auto const bytes = source.subspan(static_cast<std::size_t>(id) * row, row);
    result.insert(result.end(), bytes.begin(), bytes.end());
  }
  return result;
}

/// The same for values in memory.
template <class T>
std::vector<T> slice_router(array_view<T const> source, std::int64_t experts, array_view<int const> kept) {
  auto const bytes = slice_router(std::as_bytes(std::span{source.data(), static_cast<std::size_t>(source.size())}), experts, kept);
  std::vector<T> result(bytes.size() / sizeof(T));
  std::copy(bytes.begin(), bytes.end(), std::as_writable_bytes(std::span{result}).begin());
  return result;
}

/// `kept` (of `experts` experts with weights) and the ids of the router's `zero_experts` last rows, which pruning leaves: the rows
/// of the pruned router. Throws `errc::out_of_range` for an id that is not of an expert with weights.
inline std::vector<int> with_zero_experts(array_view<int const> kept, int experts, int zero_experts) {
  std::vector<int> rows;
  for (int const id : kept) {
    if (id < 0 || id >= experts) {
      throw error{errc::out_of_range, "with_zero_experts: expert " + std::to_string(id) + " of " + std::to_string(experts)};
    }
    rows.push_back(id);
  }
  for (int e = 0; e < zero_experts; ++e) rows.push_back(experts + e);
  return rows;
}

CULL_NAMESPACE_END
