// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What a strict reader refuses although a file can be understood. Everything is refused unless it is asked for by name.
struct leniency {
  bool nul_in_names = false;       ///< U+0000 in a tensor's name or a metadata key
  bool leading_space = false;      ///< white space before the header's '{'
  bool unknown_fields = false;     ///< fields of a tensor beside dtype, shape and data_offsets; they are ignored
  bool trailing_data = false;      ///< bytes behind the last tensor (salvage); they are counted and never copied
  bool adopt_unindexed = false;    ///< tensors that the index omits, in files that it names
  bool duplicate_tensors = false;  ///< a tensor in two files, of which the one that the index names counts
  bool outside_links = false;      ///< links that leave the model's directory
};

namespace detail {

/// What a checkpoint that was written from such a model still needs: its names are the source's, all else was put right.
constexpr leniency left_after_writing(leniency const& allowed) { return {.nul_in_names = allowed.nul_in_names}; }

}  // namespace detail

/// A leniency as people name it.
struct leniency_name {
  std::string_view text;
  bool leniency::*member;
};

inline constexpr std::array<leniency_name, 7> leniency_names{{
    {"nul-in-names", &leniency::nul_in_names},
    {"leading-space", &leniency::leading_space},
    {"unknown-fields", &leniency::unknown_fields},
    {"trailing-data", &leniency::trailing_data},
    {"adopt-unindexed", &leniency::adopt_unindexed},
    {"duplicate-tensors", &leniency::duplicate_tensors},
    {"outside-links", &leniency::outside_links},
}};

/// Allows what has that name, such as "leading-space"; false where there is none.
constexpr bool allow(leniency& what, std::string_view name) {
  for (auto const& known : leniency_names) {
    if (known.text == name) return what.*known.member = true;
  }
  return false;
}

CULL_NAMESPACE_END
