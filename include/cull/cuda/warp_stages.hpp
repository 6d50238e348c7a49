// SPDX-License-Identifier: Apache-2.0
// How a warp carries out a router stage. Results are the bits of the stage on one thread: lanes work on experts of their own,
// choices have the CPU's ties, and sums that have an order are summed by one lane.
#pragma once

#include <cstdint>

#include <cull/cuda/warp_row.hpp>
#include <cull/cuda/warp_select.hpp>
#include <cull/numeric/exp.hpp>
#include <cull/router/candidates.hpp>
#include <cull/router/choose.hpp>
#include <cull/router/logit_bias.hpp>
#include <cull/router/model_router.hpp>
#include <cull/router/score.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Any stage: one lane does it.
template <class Stage>
struct warp_stage {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, Stage const& stage, warp_row const& row) {
    c.sync_warp();
    if (c.lane() == 0) stage(row.serial(c));
    c.sync_warp();
  }
};

CULL_EXEC_CHECK_OFF
template <class Ctx, class Stage>
CULL_HD void run_stage(Ctx const& c, Stage const& stage, warp_row const& row) {
  warp_stage<Stage>::run(c, stage, row);
}

template <class First, class Second>
struct warp_stage<composed<First, Second>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, composed<First, Second> const& stage, warp_row const& row) {
    run_stage(c, stage.first, row);
    run_stage(c, stage.second, row);
  }
};

template <class Space>
struct warp_stage<basic_model_router<Space>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, basic_model_router<Space> const& stage, warp_row const& row) {
    stage.for_each_stage([&](auto const& each) { run_stage(c, each, row); });
  }
};

template <>
struct warp_stage<score_stage<sigmoid>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, score_stage<sigmoid> const&, warp_row const& row) {
    for_own_experts(c, row, [&](int e) {
      float const score = sigmoid_f32(c.load_shared(row.scores + e));
      c.store_shared(row.scores + e, score);
      c.store_shared(row.choice + e, score);
    });
    c.sync_warp();
  }
};

template <>
struct warp_stage<score_stage<unscored>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, score_stage<unscored> const&, warp_row const& row) {
    for_own_experts(c, row, [&](int e) { c.store_shared(row.choice + e, c.load_shared(row.scores + e)); });
    c.sync_warp();
  }
};

template <>
struct warp_stage<score_stage<softmax>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, score_stage<softmax> const&, warp_row const& row) {
    float top = bits_as<float>(0xff800000u);  // -inf: no logit is
    for_own_experts(c, row, [&](int e) {
      float const logit = c.load_shared(row.scores + e);
      if (c.load_shared(row.candidate + e) && logit > top) top = logit;
    });
    top = warp_max(c, top);
    bool const any = top > bits_as<float>(0xff800000u);
    for_own_experts(c, row, [&](int e) {
      if (!any) return;
      float const logit = c.load_shared(row.scores + e);
      c.store_shared(row.scores + e, c.load_shared(row.candidate + e) ? exp_f32(logit - top) : 0.0f);
    });
    c.sync_warp();
    float const divisor = any ? sum_of_scores(c, row) : 1.0f;
    for_own_experts(c, row, [&](int e) {
      float const score = c.load_shared(row.scores + e) / divisor;
      if (any) c.store_shared(row.scores + e, score);
      c.store_shared(row.choice + e, score);
    });
    c.sync_warp();
  }

 private:
  // In f64 in ascending id: an order, so one lane's work.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static float sum_of_scores(Ctx const& c, warp_row const& row) {
    double sum = 0.0;
    if (c.lane() == 0) {
      for (int e = 0; e < row.experts; ++e) sum += c.load_shared(row.scores + e);
    }
    float const divisor = c.shuffle(static_cast<float>(sum), 0);
    c.sync_warp();
    return divisor;
  }
};

template <class Space>
struct warp_stage<prefer<Space>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, prefer<Space> const& stage, warp_row const& row) {
    for_own_experts(
        c, row, [&](int e) { c.store_shared(row.choice + e, c.load_shared(row.scores + e) + c.load(stage.bias.data() + e)); });
    c.sync_warp();
  }
};

template <class Space>
struct warp_stage<add_logit_bias<Space>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, add_logit_bias<Space> const& stage, warp_row const& row) {
    for_own_experts(
        c, row, [&](int e) { c.store_shared(row.scores + e, c.load_shared(row.scores + e) + c.load(stage.bias.data() + e)); });
    c.sync_warp();
  }
};

template <class Space>
struct warp_stage<keep_only<Space>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, keep_only<Space> const& stage, warp_row const& row) {
    for_own_experts(c, row, [&](int e) {
      if (!has(c, stage.kept, e)) c.store_shared(row.candidate + e, std::uint8_t{0});
    });
    c.sync_warp();
  }

 private:
  /// Whether ascending ids have `expert` among them, by halves.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static bool has(Ctx const& c, array_view<int const, Space> ids, int expert) {
    std::int64_t first = 0, end = ids.size();
    while (first < end) {
      auto const middle = (first + end) / 2;
      int const id = c.load(ids.data() + middle);
      if (id == expert) return true;
      (id < expert ? first : end) = id < expert ? middle + 1 : middle;
    }
    return false;
  }
};

template <class GroupScore>
struct warp_stage<group_stage<GroupScore>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, group_stage<GroupScore> const& stage, warp_row const& row) {
    if (stage.groups <= 1 || stage.top >= stage.groups) return;
    int const width = row.experts / stage.groups;
    for (int g = 0; g < stage.groups; ++g) {
      float const value = group_value(c, stage, row, g * width, width);
      if (c.lane() == 0) c.store_shared(row.group_values + g, value);
    }
    c.sync_warp();
    // A lane judges groups `lane` and `lane + 32`.
    auto const low = c.ballot(survives(c, stage, row, static_cast<int>(c.lane())));
    auto const high = c.ballot(survives(c, stage, row, static_cast<int>(c.lane()) + 32));
    for_own_experts(c, row, [&](int e) {
      int const g = e / width;
      if (g < stage.groups && (((g < 32 ? low : high) >> (g % 32)) & 1u) == 0) c.store_shared(row.candidate + e, std::uint8_t{0});
    });
    c.sync_warp();
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static float group_value(Ctx const& c, group_stage<GroupScore> const& stage, warp_row const& row, int first,
                                   int width) {
    float best = bits_as<float>(0xff800000u), second = best;
    for (int e = first + static_cast<int>(c.lane()); e < first + width; e += 32) {
      if (c.load_shared(row.candidate + e)) admit(best, second, c.load_shared(row.choice + e));
    }
    CULL_UNROLL_FULLY
    for (unsigned bit = 16; bit > 0; bit /= 2) {
      float const other_best = c.shuffle_xor(best, bit), other_second = c.shuffle_xor(second, bit);
      admit(best, second, other_best);
      admit(best, second, other_second);
    }
    return stage.group_score(best, second);
  }
  CULL_HD static void admit(float& best, float& second, float value) {
    if (value > best) {
      second = best;
      best = value;
    } else if (value > second) {
      second = value;
    }
  }
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static bool survives(Ctx const& c, group_stage<GroupScore> const& stage, warp_row const& row, int group) {
    if (group >= stage.groups) return false;
    float const own = c.load_shared(row.group_values + group);
    int beaten_by = 0;
    for (int other = 0; other < stage.groups; ++other) {
      float const score = c.load_shared(row.group_values + other);
      beaten_by += score > own || (score == own && other < group);
    }
    return beaten_by < stage.top;
  }
};

template <>
struct warp_stage<choose_stage> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, choose_stage const& stage, warp_row const& row) {
    choose_by_warp(c, row, stage.count);
  }
};
template <int K>
struct warp_stage<choose_static<K>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static void run(Ctx const& c, choose_static<K> const&, warp_row const& row) {
    choose_by_warp(c, row, K);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
