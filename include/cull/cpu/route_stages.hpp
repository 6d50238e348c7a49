// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/isa.hpp>
#include <cull/cpu/x86/choose_avx2.hpp>
#include <cull/cpu/x86/choose_avx512.hpp>
#include <cull/cpu/x86/exp_avx2.hpp>
#include <cull/router/choose.hpp>
#include <cull/router/model_router.hpp>
#include <cull/router/score.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Runs a router on a row, its stages by kernels where there are some and the machine has the instructions; the same bits.
struct stages_on_cpu {
  isa level;
  row_ref row;

  template <class Stage>
  void operator()(Stage const& stage) const {
    stage(row);
  }
  template <row_stage First, row_stage Second>
  void operator()(composed<First, Second> const& both) const {
    (*this)(both.first);
    (*this)(both.second);
  }
  void operator()(model_router const& router) const { router.for_each_stage(*this); }

#if CULL_X86
  void operator()(score_stage<sigmoid> const& stage) const {
    if (level < isa::avx2) return stage(row);
    sigmoid_avx2(row.scores.data(), row.experts());
    std::copy(row.scores.begin(), row.scores.end(), row.choice.begin());
  }
  void operator()(score_stage<softmax> const& stage) const {
    bool const all = std::all_of(row.candidate.begin(), row.candidate.end(), [](auto c) { return c != 0; });
    if (level < isa::avx2 || !all || row.experts() == 0) return stage(row);
    exp_below_avx2(row.scores.data(), row.experts(), *std::max_element(row.scores.begin(), row.scores.end()));
    double sum = 0.0;
    for (float const e : row.scores) sum += e;
    auto const divisor = static_cast<float>(sum);
    for (auto& s : row.scores) s = s / divisor;
    std::copy(row.scores.begin(), row.scores.end(), row.choice.begin());
  }
  void operator()(choose_stage const& stage) const { choose(stage, stage.k()); }
  template <int K>
  void operator()(choose_static<K> const& stage) const {
    choose(stage, K);
  }

 private:
  template <class Stage>
  void choose(Stage const& stage, int k) const {
    if (!chosen(k)) return stage(row);
    for (std::int64_t i = 0; i < k; ++i) row.weights[i] = row.scores[row.ids[i]];
  }
  bool chosen(int k) const {
    return (level >= isa::avx512 && choose_avx512::run(row, k)) || (level >= isa::avx2 && choose_avx2::run(row, k));
  }
#endif
};

}  // namespace detail

CULL_NAMESPACE_END
