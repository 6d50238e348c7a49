// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <cull/config.hpp>
#include <cull/executor.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// Which experts each token goes to, and with what weight: both `[tokens, k]`, ids ascending in a row.
/// "Active" means chosen, even where the weight is 0.
template <class Space = host_memory>
struct routing {
  matrix_view<std::int32_t const, Space> ids;
  matrix_view<float const, Space> weights;

  CULL_HD constexpr std::int64_t tokens() const { return ids.rows(); }
  CULL_HD constexpr std::int64_t k() const { return ids.cols(); }
};

template <class A, class B, class Space>
routing(matrix_view<A, Space>, matrix_view<B, Space>) -> routing<Space>;

/// A routing that owns its memory.
class routing_buffer {
 public:
  void resize(std::int64_t tokens, std::int64_t k) {
    tokens_ = tokens;
    k_ = k;
    ids_.resize(static_cast<std::size_t>(tokens * k));
    weights_.resize(static_cast<std::size_t>(tokens * k));
  }
  matrix_view<std::int32_t> ids() { return {ids_.data(), tokens_, k_}; }
  matrix_view<float> weights() { return {weights_.data(), tokens_, k_}; }
  routing<> view() const { return {{ids_.data(), tokens_, k_}, {weights_.data(), tokens_, k_}}; }

 private:
  std::int64_t tokens_ = 0;
  std::int64_t k_ = 0;
  std::vector<std::int32_t> ids_;
  std::vector<float> weights_;
};

/// An empty routing where `exec` works: on a device there is another type of the same members (`cuda/route.hpp`).
template <executor Exec>
requires std::same_as<typename Exec::memory_space, host_memory> routing_buffer routing_on(Exec const&) { return {}; }

CULL_NAMESPACE_END
