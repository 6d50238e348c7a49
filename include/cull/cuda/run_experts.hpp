// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/combine.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/down_tile.hpp>
#include <cull/cuda/expert_table.hpp>
#include <cull/cuda/expert_tiles.hpp>
#include <cull/cuda/fill_others.hpp>
#include <cull/cuda/gate_up_tile.hpp>
#include <cull/cuda/scratch_array.hpp>
#include <cull/cuda/split_bf16.hpp>
#include <cull/cuda/tile_policy.hpp>
#include <cull/error.hpp>
#include <cull/expert/expert_norms.hpp>
#include <cull/expert/precision.hpp>
#include <cull/expert/run_experts.hpp>

CULL_NAMESPACE_BEGIN

/// Which of a layer's experts a call gets: those with ids `[first, first + count)` of `of`.
struct expert_part {
  std::int32_t first = 0;
  std::int32_t of = 0;
};

namespace detail {

/// What the kernels of one call share: the experts' table and the pairs grouped by expert, in scratch memory.
template <tiled_format F, simt::device_executor Exec, int Tile>
struct grouped_experts {
  grouped_experts(Exec const& exec, std::span<device_expert<F> const> experts, simt::expert_shape const& s,
                  routing<device_memory> const& chosen, std::int32_t first_expert)
      : shape(s),
        k(static_cast<std::int32_t>(chosen.k())),
        pair_count(checked(chosen)),
        table(exec, experts.size()),
        pairs(exec, static_cast<std::size_t>(pair_count)),
        tiles(exec, static_cast<std::size_t>(simt::tile_bound(pair_count, s.experts, Tile))) {
    copy_table<F>(exec, experts, table.data());
    tiles.clear();
    exec.launch(simt::grid_size{static_cast<unsigned>(shape.experts), 1},
                simt::group_pairs<Tile>{chosen.ids.data(), chosen.ids.stride(), static_cast<std::int32_t>(chosen.tokens()), k,
                                        pairs.data(), tiles.data(), first_expert});
  }

  unsigned blocks(int columns, int each) const {
    return block_count(static_cast<std::int64_t>(tiles.size()) * ((columns + each - 1) / each), 1);
  }

  simt::expert_shape shape;
  std::int32_t k;
  std::int64_t pair_count;
  simt::scratch_array<simt::expert_weights, Exec> table;
  simt::scratch_array<std::int32_t, Exec> pairs;
  simt::scratch_array<simt::expert_tile, Exec> tiles;

 private:
  static std::int64_t checked(routing<device_memory> const& chosen) {
    auto const count = chosen.tokens() * chosen.k();
    if (count > 0x7fffffff)
      throw error{errc::out_of_range, "run_experts: more than 2^31 pairs of token and expert; split the batch"};
    return count;
  }
};

/// One call of the experts of a layer.
template <class Precision, simt::device_executor Exec, class Activation>
struct experts_call {
  Exec const& exec;
  matrix_view<float const, device_memory> x;
  routing<device_memory> chosen;
  Activation activation;
  expert_use use;

  float const* input_weights() const { return use.gate_on_input ? chosen.weights.data() : nullptr; }
  // Where weights multiply inputs each pair has its own, else a token's pairs share one.
  std::int32_t k() const { return static_cast<std::int32_t>(chosen.k()); }
  std::int64_t input_rows() const { return use.gate_on_input ? chosen.tokens() * chosen.k() : chosen.tokens(); }
  std::int32_t pairs_per_input() const { return use.gate_on_input ? 1 : k(); }
  std::int32_t inputs_per_token() const { return use.gate_on_input ? k() : 1; }

  /// Rows of ids that are none of the layer's `experts`.
  void others(std::int32_t experts, matrix_view<float, device_memory> outputs, matrix_view<double, device_memory> norms) const {
    exec.launch(
        simt::grid_size{block_count(chosen.tokens() * chosen.k(), simt::fill_others::threads), 1},
        simt::fill_others{chosen.ids.data(), chosen.ids.stride(), input_weights(), chosen.weights.stride(),
                          static_cast<std::int32_t>(chosen.tokens()), k(), experts, use.zero_experts, x.data(), x.stride(),
                          static_cast<std::int32_t>(x.cols()), outputs.data(), outputs.stride(), norms.data(), norms.stride()});
  }

  /// Gate, up and activation, then `Output` of the down projection.
  template <tiled_format F, class Output, int Tokens>
  void run(grouped_experts<F, Exec, Tokens> const& g, Output const& output) const {
    with_weights<F>(g.shape, [&]<class Weights>(Weights) { run_as<Weights>(g, output); });
  }

 private:
  template <class Weights, tiled_format F, class Output, int Tokens>
  void run_as(grouped_experts<F, Exec, Tokens> const& g, Output const& output) const {
    constexpr int parts = bf16_parts<Precision>;
    static_assert(parts != 0, "the tensor core kernels take f32_precision and bf16_precision");
    auto const part_stride = input_rows() * simt::plane_width(g.shape.hidden);
    simt::scratch_array<std::uint16_t, Exec> planes{exec, static_cast<std::size_t>(parts * part_stride)};
    exec.launch(simt::grid_size{block_count(part_stride / 4, simt::split_rows<parts>::threads), 1},
                simt::split_rows<parts>{x.data(), x.stride(), input_weights(), k(), chosen.weights.stride(), inputs_per_token(),
                                        static_cast<std::int32_t>(x.cols()), part_stride / 4, planes.data(), part_stride});
    auto const inner_stride = g.pair_count * simt::plane_width(g.shape.width);
    simt::scratch_array<std::uint16_t, Exec> inner{exec, static_cast<std::size_t>(parts * inner_stride)};
    with_gating(g.shape, [&]<bool Gated>(std::bool_constant<Gated>) {
      using body = simt::gate_up_tile<parts, Tokens, Activation, Gated, Weights>;
      exec.launch(simt::grid_size{g.blocks(g.shape.width, body::channels), 1},
                  body{g.table.data(), g.tiles.data(), g.pairs.data(), planes.data(), part_stride, pairs_per_input(),
                       inner.data(), inner_stride, g.shape, activation});
    });
    using body = simt::down_tile<parts, Tokens, Output, Weights>;
    exec.launch(simt::grid_size{g.blocks(g.shape.hidden, body::columns), 1},
                body{g.table.data(), g.tiles.data(), g.pairs.data(), inner.data(), inner_stride, g.shape, output});
  }

  /// Only kernels that the activation can be called in are compiled.
  template <class F>
  static void with_gating(simt::expert_shape const& shape, F const& f) {
    if (shape.gated) {
      if constexpr (std::is_invocable_v<Activation const&, float, float>) return f(std::true_type{});
      throw error{errc::out_of_range, "experts have a gate, and the activation takes one argument only"};
    }
    if constexpr (std::is_invocable_v<Activation const&, float>) return f(std::false_type{});
    throw error{errc::out_of_range, "experts have no gate, and the activation takes (gate, up) only"};
  }
};

/// `outputs` [tokens * k, hidden] of a part's experts. The part that begins at 0 writes the rows of ids without weights too.
template <class Policy, simt::device_executor Exec, tiled_format F, class Activation>
void run_part(Exec const& exec, std::span<device_expert<F> const> experts, expert_part part,
              matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
              matrix_view<float, device_memory> outputs, Activation activation, expert_use use) {
  if (chosen.tokens() * chosen.k() == 0) return;
  check_rows("run_experts", "x", x.data(), x.stride());
  check_rows("run_experts", "the outputs", outputs.data(), outputs.stride());
  auto const shape = shape_on_device<F>(experts, x.cols());
  experts_call<typename policy_of<Policy>::precision, Exec, Activation> const call{exec, x, chosen, activation, use};
  if (part.first == 0) call.others(part.of, outputs, {});
  if (shape.experts == 0) return;
  grouped_experts<F, Exec, policy_of<Policy>::tokens> const groups{exec, experts, shape, chosen, part.first};
  call.run(groups, simt::store_outputs{outputs.data(), outputs.stride()});
}

/// `norms` [tokens, k] likewise.
template <class Policy, simt::device_executor Exec, tiled_format F, class Activation>
void norms_of_part(Exec const& exec, std::span<device_expert<F> const> experts, expert_part part,
                   matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
                   matrix_view<double, device_memory> norms, Activation activation, expert_use use) {
  if (chosen.tokens() * chosen.k() == 0) return;
  check_rows("expert_norms", "x", x.data(), x.stride());
  auto const shape = shape_on_device<F>(experts, x.cols());
  experts_call<typename policy_of<Policy>::precision, Exec, Activation> const call{exec, x, chosen, activation, use};
  if (part.first == 0) call.others(part.of, {}, norms);
  if (shape.experts == 0) return;
  constexpr int tokens = policy_of<Policy>::tokens;
  grouped_experts<F, Exec, tokens> const groups{exec, experts, shape, chosen, part.first};
  auto const per_tile = (shape.hidden + 127) / 128;
  simt::scratch_array<float, Exec> squares{exec, groups.tiles.size() * static_cast<std::size_t>(per_tile) * tokens};
  call.run(groups, simt::sum_squares{squares.data()});
  exec.launch(simt::grid_size{static_cast<unsigned>(groups.tiles.size()), 1},
              simt::finish_norms<tokens>{groups.tiles.data(), groups.pairs.data(), squares.data(), per_tile, groups.k,
                                         norms.data(), norms.stride()});
}

}  // namespace detail

/// Experts in device memory: NVFP4 in either dialect, codes aligned to 8 bytes, or MXFP4, codes aligned to 16; rows of x and
/// outputs aligned to 16. NVFP4 is fastest where hidden and width are multiples of 64, codes aligned to 16 bytes and scales to 4;
/// other sizes give the bits of such padded by zeros. An id that is none gives a row of NaN. Products as `tile_product` states
/// them.
template <simt::device_executor Exec>
struct impl<run_experts_op, Exec> {
  template <class Policy, matrix_format F, class Activation>
  static void run(Exec const& exec, std::span<gated_expert<matrix<F, device_memory>> const> experts,
                  matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
                  matrix_view<float, device_memory> outputs, Activation activation, expert_use use) {
    if constexpr (detail::takes_weights<run_experts_op, F>()) {
      detail::run_part<Policy, Exec, F>(exec, experts, {0, static_cast<std::int32_t>(experts.size())}, x, chosen, outputs,
                                        activation, use);
    }
  }
};

/// The norm is summed where the down projection ends, and f_j(x) never reaches memory. Squares are f32: a
/// norm is right to (hidden / 128 + 12) * 2^-24 of itself where |f| lies between 2^-60 and 2^60. The same bits from
/// `latency<...>`.
template <simt::device_executor Exec>
struct impl<expert_norms_op, Exec> {
  template <class Policy, matrix_format F, class Activation>
  static void run(Exec const& exec, std::span<gated_expert<matrix<F, device_memory>> const> experts,
                  matrix_view<float const, device_memory> x, routing<device_memory> const& chosen,
                  matrix_view<double, device_memory> norms, Activation activation, expert_use use) {
    if constexpr (detail::takes_weights<expert_norms_op, F>()) {
      detail::norms_of_part<Policy, Exec, F>(exec, experts, {0, static_cast<std::int32_t>(experts.size())}, x, chosen, norms,
                                             activation, use);
    }
  }
};

CULL_NAMESPACE_END
