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
};

using scores_by_id = std::map<int, double>;

inline scores_by_id reference_scores(std::vector<float> const& logits, std::vector<int> const& kept,
                                     cull::scoring how) {
  scores_by_id out;
  double top = -std::numeric_limits<double>::infinity();
  for (int const id : kept) top = std::max(top, static_cast<double>(logits[static_cast<std::size_t>(id)]));
  double sum = 0;
  for (int const id : kept) {
    double const x = logits[static_cast<std::size_t>(id)];
    out[id] = how == cull::scoring::sigmoid ? 0.5 * (1 + std::tanh(x / 2)) : std::exp(x - top);
    sum += out[id];
  }
  if (how == cull::scoring::softmax) {
    for (auto& [id, s] : out) s /= sum;
  }
  return out;
}

/// Keys of the `count` greatest values, lower keys first among equals; narrows `gap`.
inline std::set<int> greatest(scores_by_id const& values, int count, double& gap) {
  std::vector<std::pair<double, int>> order;
  for (auto const& [key, v] : values) order.emplace_back(-v, key);
  std::sort(order.begin(), order.end());
  std::set<int> out;
  auto const taken = std::min(static_cast<std::size_t>(count), order.size());
  for (std::size_t i = 0; i < taken; ++i) out.insert(order[i].second);
  if (taken < order.size() && taken > 0) {
    double const won = -order[taken - 1].first;
    gap = std::min(gap, (won + order[taken].first) / std::max(std::abs(won), 1e-30));
  }
  return out;
}

inline std::set<int> reference_groups(scores_by_id const& choice, int experts, cull::router_settings const& s,
                                      double& gap) {
  std::map<int, std::vector<double>> members;
  for (auto const& [id, c] : choice) members[id / (experts / s.groups)].push_back(c);
  scores_by_id of_group;
  for (auto& [group, values] : members) {
    std::sort(values.begin(), values.end(), std::greater<>{});
    of_group[group] = s.group_score == cull::group_scoring::maximum ? values.at(0) : values.at(0) + values.at(1);
  }
  return greatest(of_group, s.top_groups, gap);
}

/// What DeepSeek-V3's and GLM's router does, in f64; experts outside `kept` do not exist.
inline answer reference_route(std::vector<float> const& logits, cull::router_settings const& s,
                              std::vector<float> const& bias, std::vector<int> const& kept) {
  answer out;
  auto const experts = static_cast<int>(logits.size());
  auto const scores = reference_scores(logits, kept, s.scoring);
  auto choice = scores;
  if (!bias.empty()) {
    for (auto& [id, c] : choice) c += static_cast<double>(bias[static_cast<std::size_t>(id)]);
  }
  if (s.groups > 1) {
    auto const groups = reference_groups(choice, experts, s, out.gap);
    std::erase_if(choice, [&](auto const& entry) { return !groups.contains(entry.first / (experts / s.groups)); });
  }
  double sum = 0;
  for (int const id : greatest(choice, s.top_k, out.gap)) {
    out.ids.push_back(id);
    out.weights.push_back(scores.at(id));
    sum += scores.at(id);
  }
  for (auto& w : out.weights) {
    if (s.renormalize == cull::renormalization::on) w /= sum + static_cast<double>(s.epsilon);
    w *= static_cast<double>(s.scaling);
  }
  return out;
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
    if (std::memcmp(a.row(r).data(), b.row(r).data(), static_cast<std::size_t>(a.cols()) * sizeof(T)) != 0)
      return false;
  }
  return true;
}

inline bool same_bits(cull::routing<> const& a, cull::routing<> const& b) {
  return same_bits(a.ids, b.ids) && same_bits(a.weights, b.weights);
}

/// Every kind of router that settings can state.
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

inline std::string describe(cull::router_settings const& s) {
  return std::string{s.scoring == cull::scoring::sigmoid ? "sigmoid" : "softmax"} + ", groups " +
         std::to_string(s.groups) + (s.group_score == cull::group_scoring::maximum ? " by maximum" : " by sum of two") +
         (s.renormalize == cull::renormalization::on ? ", renormalised" : "") + ", scaling " +
         std::to_string(s.scaling);
}

struct caught {
  bool thrown = false;
  cull::errc code = cull::errc::cancelled;
  std::string text;
};

template <class Call>
caught catch_error(Call&& call) {
  try {
    call();
  } catch (cull::error const& problem) {
    return {true, problem.code(), problem.what()};
  }
  return {};
}

}  // namespace router_test
