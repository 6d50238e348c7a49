// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/router/routing.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// Norms `[tokens, k]` in f32 or f64, whichever the engine has.
template <class Space = host_memory>
class norm_view {
 public:
  constexpr norm_view() = default;
  template <class T>
  requires std::is_same_v<T, float> || std::is_same_v<T, float const>
  constexpr norm_view(matrix_view<T, Space> values) : single_(values) {}
  template <class T>
  requires std::is_same_v<T, double> || std::is_same_v<T, double const>
  constexpr norm_view(matrix_view<T, Space> values) : double_(values) {}

  CULL_HD constexpr std::int64_t rows() const { return single_.data() != nullptr ? single_.rows() : double_.rows(); }
  CULL_HD constexpr std::int64_t cols() const { return single_.data() != nullptr ? single_.cols() : double_.cols(); }
  CULL_HD constexpr double operator()(std::int64_t token, std::int64_t slot) const {
    return single_.data() != nullptr ? static_cast<double>(single_(token, slot)) : double_(token, slot);
  }
  /// The same through `load(pointer)`, which is how a kernel reads memory.
  CULL_EXEC_CHECK_OFF
  template <class Load>
  CULL_HD constexpr double read(std::int64_t token, std::int64_t slot, Load const& load) const {
    return single_.data() != nullptr ? static_cast<double>(load(&single_(token, slot))) : load(&double_(token, slot));
  }

 private:
  matrix_view<float const, Space> single_{};
  matrix_view<double const, Space> double_{};
};

/// What `add` is given beside the routing.
template <class Space = host_memory>
struct routed_tokens {
  norm_view<Space> norms;                        ///< [tokens, k]: norm of the raw output of expert ids(t, i) for token t
  array_view<double const, Space> weights = {};  ///< [tokens], each >= 0; empty: 1 everywhere
  array_view<int const, Space> sequence = {};    ///< [tokens]: number of a token's sequence; empty: each token is its own
  array_view<int const, Space> domain = {};      ///< [tokens]: place in the observation's domains; empty: the first
  int zero_experts = 0;                          ///< ids after the last expert that may occur and are not observed
  array_view<double const, Space> turns = {};    ///< [tokens]: as in routed_token; empty: 0 everywhere
  norm_view<Space> losses = {};                  ///< [tokens, k]: likewise
};

namespace detail {

template <class Space>
void check_routed_tokens(routing<Space> const& chosen, routed_tokens<Space> const& tokens) {
  auto const batch = chosen.tokens();
  auto const fits = [&](std::int64_t size) { return size == 0 || size == batch; };
  if (chosen.weights.rows() != batch || chosen.weights.cols() != chosen.k() || tokens.norms.rows() != batch ||
      (batch > 0 && tokens.norms.cols() != chosen.k()) || !fits(tokens.weights.size()) || !fits(tokens.sequence.size()) ||
      !fits(tokens.domain.size()) || !fits(tokens.turns.size()) || !fits(tokens.losses.rows()) ||
      (tokens.losses.rows() > 0 && tokens.losses.cols() != chosen.k())) {
    throw error{errc::shape_mismatch,
                "add: ids, gates, norms and losses must be [tokens, k], weights, sequence, domain and turns [tokens] or empty; "
                "there are " +
                    std::to_string(batch) + " tokens of " + std::to_string(chosen.k()) + " choices"};
  }
}

CULL_HD inline bool is_finite(double value) noexcept {
  return (__builtin_bit_cast(std::uint64_t, value) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

/// What one routed token adds to a cell, on every backend. `sink.add(measure, value)` adds to that measure's state,
/// `sink.add_cluster(values)` to the sums of its sequence and says whether they fitted, `sink.reject()` counts a refusal.
CULL_EXEC_CHECK_OFF
template <measure... Measures, class Sink>
CULL_HD void add_one(routed_token const& seen, Sink& sink) {
  using layout = sequence_layout<Measures...>;
  bool sound = true;
  ((sound &= sink.add(Measures{}, Measures{}(seen)) == sum_status::added), ...);
  double values[layout::sums];
  layout::values_of(seen, values);
  if (!sound || !sink.add_cluster(values)) sink.reject();
}

}  // namespace detail

struct add_op;

/// Adds the tokens of a batch to one layer of an observation. A token of weight 0 leaves no trace (padding).
/// Order-free and exact: the state's bits depend on the tokens only, not on their order, batches or threads.
/// Throws `errc::shape_mismatch`, `errc::out_of_range` (ids, domains, negative weights) before anything is added; values that
/// cannot be added are counted (`observation::rejected`).
template <class Exec, measure... Measures>
requires implemented_on<add_op, Exec>
void add(Exec const& exec, observation_slot<Measures...> to, routing<typename Exec::memory_space> const& chosen,
         routed_tokens<typename Exec::memory_space> const& tokens) {
  detail::check_routed_tokens(chosen, tokens);
  impl<add_op, Exec>::run(exec, to, chosen, tokens);
}

CULL_NAMESPACE_END
