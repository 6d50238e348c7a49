// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/route_stages.hpp>
#include <cull/error.hpp>
#include <cull/router/route.hpp>

CULL_NAMESPACE_BEGIN

/// A token after the other, chunks of tokens over threads; stages by kernels where there are some.
template <>
struct impl<route_op, on_cpu> {
  template <class Router>
  static void run(on_cpu const& exec, Router const& router, matrix_view<float const> logits, routing_buffer& out) {
    constexpr std::int64_t chunk = 256;
    auto const ids = out.ids();
    auto const weights = out.weights();
    for_each_index(exec, (logits.rows() + chunk - 1) / chunk, [&](std::int64_t c) {
      auto const experts = static_cast<std::size_t>(logits.cols());
      std::vector<float> scores(experts), choice(experts);
      std::vector<std::uint8_t> candidate(experts);
      for (std::int64_t t = c * chunk; t < std::min((c + 1) * chunk, logits.rows()); ++t) {
        copy_finite(logits.row(t), t, scores);
        std::fill(candidate.begin(), candidate.end(), std::uint8_t{1});
        row_ref const row{scores, choice, candidate, ids.row(t), weights.row(t)};
        detail::stages_on_cpu{exec.level(), row}(router);
        check_chosen(row, t);
      }
    });
  }

 private:
  static void copy_finite(array_view<float const> logits, std::int64_t token, std::vector<float>& scores) {
    for (std::int64_t e = 0; e < logits.size(); ++e) {
      if (!std::isfinite(logits[e])) {
        throw error{errc::not_finite,
                    "route: the logit of token " + std::to_string(token) + ", expert " + std::to_string(e) + " is not finite"};
      }
      scores[static_cast<std::size_t>(e)] = logits[e];
    }
  }

  static void check_chosen(row_ref row, std::int64_t token) {
    std::int64_t candidates = 0;
    for (auto const c : row.candidate) candidates += c;
    if (candidates < row.ids.size()) {
      throw error{errc::out_of_range, "route: token " + std::to_string(token) + " has " + std::to_string(candidates) +
                                          " eligible experts and needs " + std::to_string(row.ids.size()) +
                                          "; keep more experts per group"};
    }
  }
};

CULL_NAMESPACE_END
