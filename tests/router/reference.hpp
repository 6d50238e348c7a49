// SPDX-License-Identifier: Apache-2.0
// Routing in f64 by sorting, seeded rows, and a row to run single stages on.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <cull/router.hpp>

#include "support/failures.hpp"

namespace router_test {

/// The same numbers with every standard library.
class source {
 public:
  explicit source(unsigned seed) : engine_(seed) {}
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(static_cast<double>(engine_()) * 0x1p-32);
  }
  int below(int end) { return static_cast<int>(engine_() % static_cast<unsigned>(end)); }
  std::vector<float> values(std::int64_t count, float low, float high) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (auto& v : out) v = uniform(low, high);
    return out;
  }

 private:
  std::mt19937 engine_;
};

/// One row and the memory behind it.
struct row_buffer {
  std::vector<float> scores, choice;
  std::vector<std::uint8_t> candidate;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;

  explicit row_buffer(std::vector<float> const& logits, int k = 1)
      : scores(logits),
        choice(logits),
        candidate(logits.size(), 1),
        ids(static_cast<std::size_t>(k), -1),
        weights(static_cast<std::size_t>(k), -1.0f) {}
  cull::row_ref ref() { return {scores, choice, candidate, ids, weights}; }
};

/// Leaves the logits as scores, so that a test states scores outright.
struct as_given {
  void operator()(cull::row_ref) const {}
};

struct answer {
  std::vector<int> ids;
  std::vector<double> weights;
  double gap = std::numeric_limits<double>::infinity();  ///< least relative distance of a winner to a loser
  double cancellation = 1;  ///< how much f32's relative errors may grow where a weight is a sum of numbers of either sign
};

using scores_by_id = std::map<int, double>;

inline bool goes_by_logits(cull::scoring how) {
  return how == cull::scoring::softmax_of_chosen || how == cull::scoring::sigmoid_of_chosen;
}

inline double exact_sigmoid_f64(double x) { return 0.5 * (1 + std::tanh(x / 2)); }

/// Each value's share in the sum of their exponentials.
inline scores_by_id exact_softmax_f64(scores_by_id const& logits) {
  double top = -std::numeric_limits<double>::infinity();
  for (auto const& [id, x] : logits) top = std::max(top, x);
  double sum = 0;
  for (auto const& [id, x] : logits) sum += std::exp(x - top);
  scores_by_id out;
  for (auto const& [id, x] : logits) out[id] = std::exp(x - top) / sum;
  return out;
}

inline scores_by_id reference_scores(std::vector<float> const& logits, std::vector<float> const& logit_bias,
                                     std::vector<int> const& kept, cull::scoring how) {
  scores_by_id out;
  for (int const id : kept) {
    auto const at = static_cast<std::size_t>(id);
    out[id] = static_cast<double>(logits[at]) + (logit_bias.empty() ? 0.0 : static_cast<double>(logit_bias[at]));
  }
  if (how == cull::scoring::softmax) return exact_softmax_f64(out);
  if (how == cull::scoring::sigmoid) {
    for (auto& [id, x] : out) x = exact_sigmoid_f64(x);
  }
  return out;
}

/// Keys of the `count` greatest values, lower keys first among equals; narrows `gap`, which is relative to the last winner or to
/// `unit` if that is greater.
inline std::set<int> greatest(scores_by_id const& values, int count, double& gap, double unit = 1e-30) {
  std::vector<std::pair<double, int>> order;
  for (auto const& [key, v] : values) order.emplace_back(-v, key);
  std::sort(order.begin(), order.end());
  std::set<int> out;
  auto const taken = std::min(static_cast<std::size_t>(count), order.size());
  for (std::size_t i = 0; i < taken; ++i) out.insert(order[i].second);
  if (taken < order.size() && taken > 0) {
    double const won = -order[taken - 1].first;
    gap = std::min(gap, (won + order[taken].first) / std::max(std::abs(won), unit));
  }
  return out;
}

inline std::set<int> reference_groups(scores_by_id const& choice, int experts, cull::router_settings const& s, double unit,
                                      double& gap) {
  std::map<int, std::vector<double>> members;
  for (auto const& [id, c] : choice) members[id / (experts / s.groups)].push_back(c);
  scores_by_id of_group;
  for (auto& [group, values] : members) {
    std::sort(values.begin(), values.end(), std::greater<>{});
    of_group[group] = s.group_score == cull::group_scoring::maximum ? values.at(0) : values.at(0) + values.at(1);
  }
  return greatest(of_group, s.top_groups, gap, unit);
}

/// The weights of the chosen before they are renormalised.
inline scores_by_id reference_weights(std::set<int> const& chosen, scores_by_id const& scores, scores_by_id const& choice,
                                      cull::router_settings const& s, answer& out) {
  scores_by_id weights;
  for (int const id : chosen) {
    weights[id] = s.bias_in_weight ? choice.at(id) : scores.at(id);
    if (s.scoring == cull::scoring::sigmoid_of_chosen) weights[id] = exact_sigmoid_f64(scores.at(id));
    if (s.bias_in_weight) {
      auto const parts = std::abs(scores.at(id)) + std::abs(choice.at(id) - scores.at(id));
      out.cancellation = std::max(out.cancellation, parts / std::abs(choice.at(id)));
    }
  }
  return s.scoring == cull::scoring::softmax_of_chosen ? exact_softmax_f64(weights) : weights;
}

/// What the families' routers do, in f64; experts outside `kept` do not exist.
inline answer reference_route(std::vector<float> const& logits, cull::router_settings const& s, std::vector<float> const& bias,
                              std::vector<int> const& kept, std::vector<float> const& logit_bias = {}) {
  answer out;
  auto const experts = static_cast<int>(logits.size());
  auto const scores = reference_scores(logits, logit_bias, kept, s.scoring);
  double const unit = goes_by_logits(s.scoring) ? 1.0 : 1e-30;
  auto choice = scores;
  if (!bias.empty()) {
    for (auto& [id, c] : choice) c += static_cast<double>(bias[static_cast<std::size_t>(id)]);
  }
  if (s.groups > 1) {
    auto const groups = reference_groups(choice, experts, s, unit, out.gap);
    std::erase_if(choice, [&](auto const& entry) { return !groups.contains(entry.first / (experts / s.groups)); });
  }
  auto const weights = reference_weights(greatest(choice, s.top_k, out.gap, unit), scores, choice, s, out);
  double sum = 0, magnitude = 0;
  for (auto const& [id, w] : weights) {
    out.ids.push_back(id);
    out.weights.push_back(w);
    sum += w;
    magnitude += std::abs(w);
  }
  if (s.renormalize == cull::renormalization::on) {
    out.cancellation *= 1 + magnitude / std::abs(sum);
    sum += static_cast<double>(s.epsilon);
    if (s.minimum > 0) sum = std::max(sum, static_cast<double>(s.minimum));
    for (auto& w : out.weights) w /= sum;
  }
  for (auto& w : out.weights) w *= static_cast<double>(s.scaling);
  return out;
}

/// Whether f32 weights of a row are those in f64.
inline bool close_weights(answer const& expected, cull::array_view<float const> got) {
  for (std::size_t i = 0; i < expected.weights.size(); ++i) {
    double const w = expected.weights[i];
    auto const error = std::abs(static_cast<double>(got[static_cast<std::int64_t>(i)]) - w);
    if (error > 2e-6 * expected.cancellation * std::abs(w)) return false;
  }
  return true;
}

inline std::vector<int> all_of(int experts) {
  std::vector<int> out(static_cast<std::size_t>(experts));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// Logits [tokens, experts] as one block.
struct logits_block {
  std::vector<float> values;
  std::int64_t tokens;
  std::int64_t experts;

  cull::matrix_view<float const> view() const { return {values.data(), tokens, experts}; }
  std::vector<float> row(std::int64_t t) const {
    auto const begin = values.begin() + t * experts;
    return {begin, begin + experts};
  }
};

inline logits_block random_logits(std::int64_t tokens, int experts, unsigned seed, float range = 6.0f) {
  source from{seed};
  return {from.values(tokens * experts, -range, range), tokens, experts};
}

/// Columns `kept` of a block.
inline logits_block columns(logits_block const& all, std::vector<int> const& kept) {
  logits_block out{{}, all.tokens, static_cast<std::int64_t>(kept.size())};
  for (std::int64_t t = 0; t < all.tokens; ++t) {
    for (int const id : kept) out.values.push_back(all.values[static_cast<std::size_t>(t * all.experts + id)]);
  }
  return out;
}

template <class Router>
cull::routing_buffer routed(Router const& router, logits_block const& logits, int threads = 1) {
  cull::routing_buffer out;
  cull::route(cull::on_cpu{threads}, router, logits.view(), out);
  return out;
}

template <class T>
bool same_bits(cull::matrix_view<T> a, cull::matrix_view<T> b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (std::int64_t r = 0; r < a.rows(); ++r) {
    if (std::memcmp(a.row(r).data(), b.row(r).data(), static_cast<std::size_t>(a.cols()) * sizeof(T)) != 0) return false;
  }
  return true;
}

inline bool same_bits(cull::routing<> const& a, cull::routing<> const& b) {
  return same_bits(a.ids, b.ids) && same_bits(a.weights, b.weights);
}

/// Every kind of router that settings can state for DeepSeek's, GLM's and Qwen's families.
inline std::vector<cull::router_settings> every_setting(int k, int groups, int top_groups, float epsilon = 1e-20f) {
  std::vector<cull::router_settings> out;
  for (auto const how : {cull::scoring::softmax, cull::scoring::sigmoid}) {
    for (auto const group_score : {cull::group_scoring::sum_of_two, cull::group_scoring::maximum}) {
      for (int const g : {1, groups}) {
        for (auto const renormalize : {cull::renormalization::off, cull::renormalization::on}) {
          for (float const scaling : {1.0f, 2.5f}) {
            out.push_back({how, k, g, g == 1 ? 1 : top_groups, group_score, renormalize, epsilon, scaling});
          }
        }
      }
    }
  }
  return out;
}

/// What other families add: weights of the chosen logits, least denominators, weights with the bias.
inline std::vector<cull::router_settings> every_other_setting(int k, int groups, int top_groups) {
  std::vector<cull::router_settings> out;
  for (auto s : every_setting(k, groups, top_groups)) {
    bool const on = s.renormalize == cull::renormalization::on;
    for (float const minimum : {0.0f, 1e-12f, 0.4f}) {
      if (!on && minimum > 0) continue;
      s.minimum = minimum;
      for (bool const bias_in_weight : {false, true}) {
        s.bias_in_weight = bias_in_weight;
        if (minimum > 0 || bias_in_weight) out.push_back(s);
      }
      s.bias_in_weight = false;
      auto of_chosen = s;
      of_chosen.scoring =
          s.scoring == cull::scoring::softmax ? cull::scoring::softmax_of_chosen : cull::scoring::sigmoid_of_chosen;
      out.push_back(of_chosen);
    }
  }
  return out;
}

inline std::string describe(cull::router_settings const& s) {
  char const* const names[] = {"softmax", "sigmoid", "softmax of chosen", "sigmoid of chosen"};
  return std::string{names[static_cast<int>(s.scoring)]} + ", groups " + std::to_string(s.groups) +
         (s.group_score == cull::group_scoring::maximum ? " by maximum" : " by sum of two") +
         (s.renormalize == cull::renormalization::on ? ", renormalised" : "") + ", scaling " + std::to_string(s.scaling) +
         ", minimum " + std::to_string(s.minimum) + (s.bias_in_weight ? ", bias in weight" : "");
}

using test_support::catch_error;
using test_support::caught;

}  // namespace router_test
