// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <cull/cuda/context.hpp>
#include <cull/selection/select.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A block chooses for one layer: each thread counts, for experts of its own, who in their group ranks before them, then how many
/// of those that stay have a lower id. Scores lie in shared memory. O(experts^2 / threads).
struct select_top {
  static constexpr unsigned threads = 256;
  static constexpr int max_experts = 1024;
  struct Shared {
    double scores[max_experts];
    std::uint8_t stays[max_experts];
  };

  matrix_view<double const, device_memory> scores;
  matrix_view<std::int32_t, device_memory> kept;
  int groups;
  std::uint32_t* refused;  ///< layers with a NaN

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, Shared& s) const {
    auto const layer = std::int64_t{c.block()};
    auto const experts = static_cast<int>(scores.cols());
    int const width = experts / groups;
    auto const quota = static_cast<int>(kept.cols()) / groups;
    for_own(c, experts, [&](int e) { c.store_shared(&s.scores[e], c.load(&scores(layer, e), streamed{})); });
    c.sync();
    for_own(c, experts, [&](int e) {
      double const own = c.load_shared(&s.scores[e]);
      if (own != own) c.atomic_add(refused, 1u);
      c.store_shared(&s.stays[e], static_cast<std::uint8_t>(rank(c, s, e, own, width) < quota));
    });
    c.sync();
    for_own(c, experts, [&](int e) {
      if (!c.load_shared(&s.stays[e])) return;
      int place = 0;
      for (int other = 0; other < e; ++other) place += c.load_shared(&s.stays[other]);
      if (place < kept.cols()) c.store(&kept(layer, place), static_cast<std::int32_t>(e));
    });
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class Ctx, class Work>
  CULL_HD static void for_own(Ctx const& c, int experts, Work work) {
    for (int e = static_cast<int>(c.thread()); e < experts; e += static_cast<int>(threads)) work(e);
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static int rank(Ctx const& c, Shared const& s, int e, double own, int width) {
    int const first = e / width * width;
    int before = 0;
    for (int other = first; other < first + width; ++other) {
      double const score = c.load_shared(&s.scores[other]);
      before += score > own || (score == own && other < e);
    }
    return before;
  }
};

}  // namespace simt

/// The keep-sets of all layers from their scores [layers, experts], on the device, enqueued: `kept` [layers, budget.count] gets
/// what `select_layer` keeps: the best of each group, of equals the lower ids, ascending. Adds to `refused` the number of scores
/// that are NaN; where there are any, `kept` is of no use. Throws `errc::out_of_range`, `errc::shape_mismatch`.
template <simt::device_executor Exec>
void select_layers(Exec const& exec, matrix_view<double const, device_memory> scores, keep budget,
                   matrix_view<std::int32_t, device_memory> kept, std::uint32_t* refused) {
  auto const experts = scores.cols();
  if (experts > simt::select_top::max_experts || budget.groups < 1 || experts % budget.groups != 0 ||
      budget.count % budget.groups != 0 || budget.count < 1 || budget.count > experts) {
    throw error{errc::out_of_range, "select: cannot keep " + std::to_string(budget.count) + " of " + std::to_string(experts) +
                                        " experts in " + std::to_string(budget.groups) +
                                        " equal groups on a device (up to 1024)"};
  }
  if (kept.rows() != scores.rows() || kept.cols() != budget.count || refused == nullptr) {
    throw error{errc::shape_mismatch,
                "select: kept must be [layers, " + std::to_string(budget.count) + "], and NaN needs a counter"};
  }
  exec.launch({static_cast<unsigned>(scores.rows())}, simt::select_top{scores, kept, budget.groups, refused});
}

CULL_NAMESPACE_END
