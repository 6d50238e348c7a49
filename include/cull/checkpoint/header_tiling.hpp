// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/json_events.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// No name, as decoded, may occur twice. Names are compared by hash first and by their bytes where hashes agree, so that chosen
/// names cannot make it slow. `places`: where their keys begin, from `base`.
inline void check_names_differ(std::vector<tensor_info> const& tensors, std::vector<std::uint32_t> const& places,
                               std::uint64_t base, std::string const& file) {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i)
    order[i] = {XXH3_64bits(tensors[i].name.data(), tensors[i].name.size()), static_cast<std::uint32_t>(i)};
  auto const name = [&](auto const& each) -> std::string const& { return tensors[each.second].name; };
  std::sort(order.begin(), order.end(), [&](auto const& a, auto const& b) {
    if (a.first != b.first) return a.first < b.first;
    auto const by_name = name(a).compare(name(b));
    return by_name != 0 ? by_name < 0 : a.second < b.second;
  });
  auto const same = [&](auto const& a, auto const& b) { return a.first == b.first && name(a) == name(b); };
  auto const twice = std::adjacent_find(order.begin(), order.end(), same);
  if (twice == order.end()) return;
  auto const second = (twice + 1)->second;
  throw error{errc::duplicate_key,
              "the name appears twice, first at byte " + std::to_string(base + places[twice->second]),
              {.file = file, .tensor = name(*twice), .byte = base + places[second], .json_pointer = pointer_step(name(*twice))}};
}

/// A part of a file.
struct byte_range {
  std::uint64_t begin = 0, end = 0;
};

/// Tensors, in the order of their data, must follow each other from the start of the data: no hole, no overlap, none beyond its
/// end. Gives the end of the last.
inline std::uint64_t check_tiling(std::vector<tensor_info> const& tensors, byte_range data, std::string const& file) {
  std::uint64_t end = data.begin;
  std::string const* before = nullptr;
  auto const missing = [&] {
    std::uint64_t most = 0;
    for (auto const& t : tensors) most = std::max(most, t.end);
    return most - data.end;
  };
  for (auto const& t : tensors) {
    auto const refuse = [&](errc code, std::string const& why) {
      throw error{
          code, why, {.file = file, .tensor = t.name, .byte = t.begin, .json_pointer = pointer_step(t.name) + "/data_offsets"}};
    };
    if (t.begin < end) refuse(errc::overlap, "overlaps tensor '" + printable(*before) + "'");
    if (t.begin > end) refuse(errc::hole, std::to_string(t.begin - end) + " bytes before this tensor belong to none");
    if (t.end > data.end) {
      refuse(errc::truncated,
             "the file ends " + std::to_string(missing()) + " bytes before its last tensor does; copy or download it again");
    }
    end = t.end;
    before = &t.name;
  }
  return end;
}

}  // namespace detail
CULL_NAMESPACE_END
