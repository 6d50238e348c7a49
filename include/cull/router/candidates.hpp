// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/logit_bias.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

/// Acts as if the router had only the rows `kept` (ascending ids): the others are absent from score normalisation, group scores
/// and choice, whatever their bias. First in a chain. The same bits as routing with sliced rows, ids being those of the full
/// router. Zero-compute experts are rows like others: `with_zero_experts` adds them to a keep-set.
template <class Space = host_memory>
struct keep_only {
  using memory_space = Space;
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::candidates;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  array_view<int const, Space> kept;

  explicit keep_only(array_view<int const, Space> ids) : kept(ids) {}

  CULL_HD void operator()(row_ref row) const {
    std::int64_t next = 0;
    for (std::int64_t e = 0; e < row.experts(); ++e) {
      if (next < kept.size() && kept[next] == e) {
        ++next;
      } else {
        row.candidate[e] = 0;
      }
    }
  }
  /// Ids in another memory than the host's are taken as they are.
  void check(std::int64_t experts) const {
    if constexpr (std::same_as<Space, host_memory>) {
      for (std::int64_t i = 0; i < kept.size(); ++i) {
        if (kept[i] < 0 || kept[i] >= experts || (i > 0 && kept[i] <= kept[i - 1])) {
          throw error{errc::out_of_range, "keep_only: ids must ascend within [0, " + std::to_string(experts) + "); entry " +
                                              std::to_string(i) + " is " + std::to_string(kept[i])};
        }
      }
    }
  }
};

template <class T, class Space>
keep_only(array_view<T, Space>) -> keep_only<Space>;
keep_only(std::vector<int> const&)->keep_only<host_memory>;

/// Acts as if the router had all rows but one. First in a chain.
struct leave_out {
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::candidates;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  int expert;

  explicit leave_out(int id) : expert(id) {}

  CULL_HD void operator()(row_ref row) const { row.candidate[expert] = 0; }
  void check(std::int64_t experts) const {
    if (expert < 0 || expert >= experts) {
      throw error{errc::out_of_range,
                  "leave_out: there is no expert " + std::to_string(expert) + " among " + std::to_string(experts)};
    }
  }
};

/// Correction bias: added to the scores for the choice only, never to the weights (`weigh_by_choice` apart). `bias` has one value
/// per expert. Comes before groups are limited, which goes by choice scores.
template <class Space = host_memory>
struct prefer {
  using memory_space = Space;
  static constexpr row_part reads = row_part::scores;
  static constexpr row_part writes = row_part::choice;
  static constexpr row_part before = row_part::groups | row_part::chosen;

  array_view<float const, Space> bias;

  CULL_HD explicit prefer(array_view<float const, Space> values) : bias(values) {}

  CULL_HD void operator()(row_ref row) const {
    for (std::int64_t e = 0; e < row.experts(); ++e) row.choice[e] = row.scores[e] + bias[e];
  }
  void check(std::int64_t experts) const { detail::check_bias("prefer", bias, experts); }
};

template <class T, class Space>
prefer(array_view<T, Space>) -> prefer<Space>;
prefer(std::vector<float> const&)->prefer<host_memory>;

namespace detail {

inline constexpr float below_all_scores = -std::numeric_limits<float>::infinity();

}  // namespace detail

/// A group's score is the sum of its two best choice scores (DeepSeek-V3, GLM).
struct sum_of_two {
  CULL_HD float operator()(float best, float second) const { return best + second; }
  static constexpr int members = 2;
};
/// A group's score is its best choice score (DeepSeek-V2).
struct maximum {
  CULL_HD float operator()(float best, float) const { return best; }
  static constexpr int members = 1;
};

/// Limits the choice to the `top` best of `groups` contiguous blocks of experts (ties: lower group); the rest is no candidate, as
/// if masked with -inf. With `keep_only`, groups stay those of the full router.
template <class GroupScore>
struct group_stage {
  static constexpr row_part reads = row_part::choice;
  static constexpr row_part writes = row_part::candidates | row_part::groups;
  static constexpr row_part before = row_part::chosen;

  int groups;
  int top;
  GroupScore group_score{};

  CULL_HD void operator()(row_ref row) const {
    if (groups <= 1 || top >= groups) return;
    std::int64_t const width = row.experts() / groups;
    std::uint64_t surviving = 0;
    for (int g = 0; g < groups; ++g) {
      float const own = value(row, g, width);
      int beaten_by = 0;
      for (int other = 0; other < groups; ++other) {
        float const score = value(row, other, width);
        beaten_by += score > own || (score == own && other < g);
      }
      if (beaten_by < top) surviving |= std::uint64_t{1} << g;
    }
    for (std::int64_t e = 0; e < width * groups; ++e) {
      if (!((surviving >> (e / width)) & 1u)) row.candidate[e] = 0;
    }
  }
  void check(std::int64_t experts) const {
    if (groups <= 1) return;
    if (groups > 64 || top < 1 || experts % groups != 0 || experts / groups < GroupScore::members) {
      throw error{errc::shape_mismatch, "within_groups: " + std::to_string(experts) + " experts in " + std::to_string(groups) +
                                            " groups (best " + std::to_string(top) +
                                            "): groups must be equal, at most 64, and hold enough experts for their score"};
    }
  }

 private:
  CULL_HD float value(row_ref row, int group, std::int64_t width) const {
    float best = detail::below_all_scores;
    float second = detail::below_all_scores;
    for (std::int64_t e = group * width; e < (group + 1) * width; ++e) {
      if (!row.candidate[e]) continue;
      float const c = row.choice[e];
      if (c > best) {
        second = best;
        best = c;
      } else if (c > second) {
        second = c;
      }
    }
    return group_score(best, second);
  }
};

/// `within_groups(8, 4, sum_of_two{})`; a no-op for one group.
template <class GroupScore>
CULL_HD constexpr group_stage<GroupScore> within_groups(int groups, int top, GroupScore score) {
  return {groups, top, score};
}

CULL_NAMESPACE_END
