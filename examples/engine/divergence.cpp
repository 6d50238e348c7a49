// SPDX-License-Identifier: Apache-2.0
#include <engine/divergence.hpp>

#include <algorithm>
#include <cmath>

#include <cull/error.hpp>

#include <engine/sampling.hpp>

namespace engine {
namespace {

/// ln of the sum of exponentials.
double log_sum(cull::array_view<float const> logits) {
  auto const top = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (float const logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

/// First position of the range that a position is in.
std::int64_t range_of(std::int64_t position) {
  if (position < 16) return 0;
  std::int64_t first = 16;
  while (first * 2 <= position) first *= 2;
  return first;
}

}  // namespace

double kl_divergence(cull::array_view<float const> p, cull::array_view<float const> q) {
  double const p_all = log_sum(p), q_all = log_sum(q);
  double out = 0;
  for (std::int64_t i = 0; i < p.size(); ++i) {
    double const ln_p = static_cast<double>(p[i]) - p_all;
    out += std::exp(ln_p) * (ln_p - (static_cast<double>(q[i]) - q_all));
  }
  return std::max(out, 0.0);
}

reference_run::reference_run(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                             decoder_options options)
    : config_(read_model_config(model)), products_(exec, options.precision), head_(model, config_, products_) {
  states_.resize(sequences.size());
  auto const keep = [this](std::int64_t s, matrix_view<float const> normed) {
    buffer copy{normed.rows(), normed.cols()};
    for (std::int64_t t = 0; t < normed.rows(); ++t) std::copy(normed.row(t).begin(), normed.row(t).end(), copy.row(t));
    states_[static_cast<std::size_t>(s)] = std::move(copy);
  };
  decoder{model, exec, options}.run(sequences, {.on_normed = keep});
}

void divergence_meter::count(parts& to, std::size_t sequence, double kl, bool same) const {
  to.kl.resize(sequences_.size());
  to.top1.resize(sequences_.size());
  to.kl[sequence].numerator += kl;
  to.top1[sequence].numerator += same ? 1 : 0;
  to.kl[sequence].denominator += 1;
  to.top1[sequence].denominator += 1;
}

void divergence_meter::add(std::int64_t s, matrix_view<float const> logits) {
  if (logits.cols() != reference_.vocabulary()) {
    throw cull::error{cull::errc::shape_mismatch, "models of " + std::to_string(reference_.vocabulary()) + " and " +
                                                      std::to_string(logits.cols()) +
                                                      " tokens cannot be compared token by token"};
  }
  auto const at = static_cast<std::size_t>(s);
  auto const& of = sequences_[at];
  buffer const wanted = reference_.logits(s);
  auto const end = std::find(of.ids.begin(), of.ids.end(), think_end_) - of.ids.begin();
  bool const thinks = end < std::ssize(of.ids);
  for (std::int64_t t = 0; t + 1 < logits.rows(); ++t) {
    double const kl = kl_divergence(wanted.view().row(t), logits.row(t));
    bool const same = argmax(wanted.view().row(t)) == argmax(logits.row(t));
    count(all_, at, kl, same);
    count(by_domain_[of.domain], at, kl, same);
    count(by_position_[range_of(t)], at, kl, same);
    if (thinks) count(by_part_[t + 1 <= end ? "before" : "after"], at, kl, same);  // by the token that is predicted
  }
}

divergence divergence_meter::result() const {
  auto const read = [](parts from) {
    // Sequences without such tokens are no part of what is drawn from.
    for (auto* const list : {&from.kl, &from.top1}) std::erase_if(*list, [](ratio_part const& p) { return p.denominator == 0; });
    distance out{ratio(from.kl), ratio(from.top1), 0};
    for (auto const& part : from.kl) out.tokens += static_cast<std::int64_t>(part.denominator);
    return out;
  };
  divergence out{.all = read(all_), .by_domain = {}, .by_position = {}, .by_part = {}};
  for (auto const& [name, from] : by_domain_) out.by_domain[name] = read(from);
  for (auto const& [first, from] : by_position_) out.by_position[first] = read(from);
  for (auto const& [name, from] : by_part_) out.by_part[name] = read(from);
  return out;
}

}  // namespace engine
