// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <cull/config.hpp>
#include <cull/cuda/run_experts.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline void check_part(std::string const& operation, expert_part part, std::size_t experts, bool fits) {
  if (!fits) throw error{errc::shape_mismatch, operation + ": needed are x [tokens, hidden] and a row or norm of every pair"};
  if (part.first < 0 || part.of < 0 || static_cast<std::int64_t>(experts) > std::int64_t{part.of} - part.first) {
    throw error{errc::out_of_range, operation + ": experts " + std::to_string(part.first) + " to " +
                                        std::to_string(part.first + static_cast<std::int64_t>(experts)) + " of a layer of " +
                                        std::to_string(part.of)};
  }
}

}  // namespace detail

/// `run_experts` for a layer that passes through device memory in parts (`stream_plan`): rows of `outputs` whose expert is in
/// another part stay as they are. The part that begins at expert 0 also writes the rows of ids without weights (zero-compute
/// experts of `use`, NaN for ids that are none), so that all parts together give the bits of the whole layer.
template <class Policy = f32_precision, class Activation = silu, simt::device_executor Exec, detail::tiled_format F>
void run_some_experts(Exec const& exec, std::span<gated_expert<matrix<F, device_memory>> const> experts, expert_part part,
                      matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
                      matrix_view<float, device_memory> outputs, Activation activation = {}, expert_use use = {}) {
  detail::check_part("run_some_experts", part, experts.size(),
                     x.rows() == chosen.tokens() && outputs.rows() == chosen.tokens() * chosen.k() && outputs.cols() == x.cols());
  detail::run_part<Policy, Exec, F>(exec, experts, part, x, chosen, outputs, activation, use);
}

/// `expert_norms` for such a layer, likewise.
template <class Policy = f32_precision, class Activation = silu, simt::device_executor Exec, detail::tiled_format F>
void some_expert_norms(Exec const& exec, std::span<gated_expert<matrix<F, device_memory>> const> experts, expert_part part,
                       matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
                       matrix_view<double, device_memory> norms, Activation activation = {}, expert_use use = {}) {
  detail::check_part("some_expert_norms", part, experts.size(),
                     x.rows() == chosen.tokens() && norms.rows() == chosen.tokens() && norms.cols() == chosen.k());
  detail::norms_of_part<Policy, Exec, F>(exec, experts, part, x, chosen, norms, activation, use);
}

CULL_NAMESPACE_END
