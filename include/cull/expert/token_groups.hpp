// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/routing.hpp>

CULL_NAMESPACE_BEGIN

/// A place in a routing: which token, and which of its k choices.
struct token_slot {
  std::int64_t token;
  std::int64_t slot;
};

/// The tokens of each expert, in ascending order of token.
class token_groups {
 public:
  /// Groups the chosen pairs of `chosen` by expert in O(tokens * k + experts). Throws `errc::out_of_range` for an id that is none.
  token_groups(routing<> const& chosen, std::int64_t experts) : begin_(static_cast<std::size_t>(experts) + 1, 0) {
    for (std::int64_t t = 0; t < chosen.tokens(); ++t) {
      for (auto const id : chosen.ids.row(t)) {
        if (id < 0 || id >= experts) {
          throw error{errc::out_of_range, "routing: token " + std::to_string(t) + " goes to expert " + std::to_string(id) +
                                              " of " + std::to_string(experts)};
        }
        ++begin_[static_cast<std::size_t>(id) + 1];
      }
    }
    for (std::size_t e = 1; e < begin_.size(); ++e) begin_[e] += begin_[e - 1];
    slots_.resize(begin_.back());
    auto next = begin_;
    for (std::int64_t t = 0; t < chosen.tokens(); ++t) {
      for (std::int64_t s = 0; s < chosen.k(); ++s) slots_[next[static_cast<std::size_t>(chosen.ids(t, s))]++] = {t, s};
    }
  }

  std::int64_t experts() const { return static_cast<std::int64_t>(begin_.size()) - 1; }
  std::span<token_slot const> of(std::int64_t expert) const {
    auto const e = static_cast<std::size_t>(expert);
    return std::span{slots_}.subspan(begin_[e], begin_[e + 1] - begin_[e]);
  }

 private:
  std::vector<std::size_t> begin_;
  std::vector<token_slot> slots_;
};

/// The tokens each of `experts` experts has to run.
inline token_groups group_by_expert(routing<> const& chosen, std::int64_t experts) { return {chosen, experts}; }

CULL_NAMESPACE_END
