// SPDX-License-Identifier: Apache-2.0
// An engine's MoE layer with saliency, written once for every backend: it names no CUDA header and no memory space of its own.
// With `cull::on_cpu` it includes <cull/saliency.hpp> and <cull/router.hpp>; with `cull::on_cuda` <cull/cuda.cuh> too.
#pragma once

#include <cstdint>
#include <utility>

#include <cull/router.hpp>
#include <cull/saliency.hpp>

namespace engine {

/// DeepSeek-V3's router; the bias lies where the backend works.
template <class Space>
auto router_of(cull::array_view<float const, Space> correction_bias) {
  return cull::score<cull::sigmoid>() | cull::prefer(correction_bias) | cull::within_groups(4, 2, cull::sum_of_two{}) |
         cull::choose(4) | cull::renormalize(1e-20f) | cull::scale(2.5f);
}

template <cull::executor Exec, cull::router Router>
class moe_layer {
 public:
  using space = typename Exec::memory_space;

  moe_layer(Exec exec, Router router) : exec_(exec), router_(router), routing_(cull::routing_on(exec)) {}

  /// Routes a batch, lets the engine run its experts, and observes what they did.
  /// `experts(routing)` runs them and gives the norms [tokens, k] of their raw outputs.
  template <class Experts, class Slot>
  void operator()(cull::matrix_view<float const, space> logits, Experts&& experts, cull::array_view<double const, space> weights,
                  cull::array_view<int const, space> sequence, Slot seen) {
    cull::route(exec_, router_, logits, routing_);
    auto const chosen = std::as_const(routing_).view();
    cull::matrix_view<float const, space> const norms = experts(chosen);
    cull::add(exec_, seen, chosen, {.norms = norms, .weights = weights, .sequence = sequence});
  }

  cull::routing<space> routing() const { return routing_.view(); }

 private:
  Exec exec_;
  Router router_;
  decltype(cull::routing_on(std::declval<Exec const&>())) routing_;
};

}  // namespace engine
