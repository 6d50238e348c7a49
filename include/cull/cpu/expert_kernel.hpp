// SPDX-License-Identifier: Apache-2.0
// A whole expert by kernels: gate and up in one pass with the activation on what it leaves (for the fewest tokens one after the
// other), down, and outputs that are stored, scattered or only squared.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/direct_product.hpp>
#include <cull/cpu/kernels.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/row_decoder.hpp>
#include <cull/cpu/tiled_product.hpp>
#include <cull/cpu/x86/exp_avx2.hpp>
#include <cull/cpu/x86/silu.hpp>
#include <cull/error.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/expert/token_groups.hpp>
#include <cull/router/routing.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The tokens that an expert sees: all rows of `x`, or those of `slots`, each times its weight where weights are given.
struct token_rows {
  matrix_view<float const> x;
  std::span<token_slot const> slots = {};
  matrix_view<float const> weights = {};

  std::int64_t size() const { return slots.empty() ? x.rows() : static_cast<std::int64_t>(slots.size()); }
  template <class Precision>
  void read(std::int64_t row, std::int64_t first, std::int64_t columns, float* out) const {
    auto const slot = slots.empty() ? token_slot{row, 0} : slots[static_cast<std::size_t>(row)];
    float const* const from = x.row(slot.token).data() + first;
    if (weights.data() == nullptr) {
      for (std::int64_t k = 0; k < columns; ++k) out[k] = Precision::activation(from[k]);
    } else {
      float const factor = weights(slot.token, slot.slot);
      for (std::int64_t k = 0; k < columns; ++k) out[k] = Precision::activation(factor * from[k]);
    }
  }
};

/// Where an expert's outputs go: row t of `y`, or row token * k + slot of its slot; or into `squares`, one sum of squares per
/// token in f64, ascending by column, and nowhere else.
struct token_outputs {
  matrix_view<float> y;
  std::span<token_slot const> slots = {};
  std::int64_t k = 1;
  double* squares = nullptr;

  void put(std::int64_t row, std::int64_t column, float value) const {
    if (squares != nullptr) {
      squares[row] += static_cast<double>(value) * static_cast<double>(value);
    } else {
      y(slots.empty() ? row : at(slots[static_cast<std::size_t>(row)]), column) = value;
    }
  }

 private:
  std::int64_t at(token_slot slot) const { return slot.token * k + slot.slot; }
};

template <class M>
weight_kind kind_of(M const& m) {
  return visit_matrix(m, []<matrix_format F>(matrix<F> const&) { return weight_kind_of<F>; });
}
template <class Kernel, class M>
weight_rows<Kernel> any_rows_of(M const& m) {
  return visit_matrix(m, [](auto const& known) { return rows_of<Kernel>(known); });
}

/// `inner[i] = act(gate[i], inner[i])`, or `act(inner[i])` where `gate` is null.
template <class Activation>
void activate([[maybe_unused]] isa level, Activation const& act, float const* gate, float* inner, std::int64_t size) {
  if (gate == nullptr) {
    if constexpr (std::is_invocable_v<Activation const&, float>) {
      for (std::int64_t i = 0; i < size; ++i) inner[i] = act(inner[i]);
      return;
    } else {
      throw error{errc::out_of_range, "expert_mlp: the expert has no gate, and the activation takes (gate, up) only"};
    }
  }
#if CULL_X86
  if constexpr (std::is_same_v<Activation, silu>) {
    if (level >= isa::avx512) return multiply_by_silu_avx512(gate, inner, size);
    if (level == isa::avx2) return multiply_by_silu_avx2(gate, inner, size);
  }
#endif
  if constexpr (std::is_invocable_v<Activation const&, float, float>) {
    for (std::int64_t i = 0; i < size; ++i) inner[i] = act(gate[i], inner[i]);
  } else {
    throw error{errc::out_of_range, "expert_mlp: the expert has a gate, and the activation takes one argument only"};
  }
}

/// Finished sums as outputs: times the outer scale in f64, rounded once, and the row's bias.
template <class Kernel>
void finish_sums(float* sums, std::int64_t count, double outer, array_view<float const> bias, std::int64_t strip) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] = static_cast<float>(static_cast<double>(sums[i]) * outer);
  if (bias.empty()) return;
  for (std::int64_t i = 0; i < count; ++i) {
    auto const row = strip * Kernel::rows + i % Kernel::rows;
    if (row < bias.size()) sums[i] += bias[row];
  }
}

/// An expert with kernel `Kernel` under `Precision`.
template <class Kernel, class Precision, class M>
class expert_kernel {
 public:
  expert_kernel(on_cpu const& exec, gated_expert<M> const& expert) : exec_(exec), expert_(expert) {}

  template <class Activation>
  void run(token_rows const& x, token_outputs const& out, Activation const& activation) {
    tokens_ = x.size();
    auto const up = any_rows_of<Kernel>(expert_.up), down = any_rows_of<Kernel>(expert_.down);
    inner_.reserve(tokens_ * up.rows);
    entering_.fill(exec_, tokens_, up.columns, [&](std::int64_t t, std::int64_t first, std::int64_t size, float* to) {
      x.template read<Precision>(t, first, size, to);
    });
    gate_and_up(up, activation);
    token_rows const hidden{{inner_.data(), tokens_, up.rows}};
    leaving_.fill(exec_, tokens_, down.columns, [&](std::int64_t t, std::int64_t first, std::int64_t size, float* to) {
      hidden.template read<Precision>(t, first, size, to);
    });
    // A sum of squares is taken in order, so by one thread.
    for_each_strip_range(exec_, down.strips(), 1, out.squares != nullptr, [&](std::int64_t first, std::int64_t last) {
      multiply_strips(leaving_, first, last, down, [&](std::int64_t strip, std::int64_t tile, std::int64_t tiles, float* sums) {
        finish_sums<Kernel>(sums, tiles * tile_size, down.outer_scale, expert_.down_bias, strip);
        for_each_output<Kernel>(strip, tile, tiles, down.rows, tokens_,
                                [&](std::int64_t t, std::int64_t n, std::int64_t at) { out.put(t, n, sums[at]); });
      });
    });
  }

 private:
  static constexpr std::int64_t tile_size = Kernel::tokens * Kernel::rows;

  template <class Activation>
  void gate_and_up(weight_rows<Kernel> const& up, Activation const& activation) {
    auto const gate = any_rows_of<Kernel>(expert_.gate);
    if (gate.rows == 0) return up_alone(up, activation);
    if constexpr (stored_rows_only<Kernel>)
      gate_then_up(gate, up, activation);
    else
      gate_with_up({gate, up}, activation);
  }

  template <class Activation>
  void gate_with_up(gated_rows<Kernel> const& both, Activation const& activation) {
    auto const &gate = both.gate, &up = both.up;
    for_each_strip_range(exec_, both.strips(), 2, false, [&](std::int64_t first, std::int64_t last) {
      multiply_strips(entering_, first, last, both, [&](std::int64_t strip, std::int64_t tile, std::int64_t tiles, float* sums) {
        auto const count = tiles * tile_size;
        if (strip % 2 == 0) return finish_sums<Kernel>(sums, count, gate.outer_scale, expert_.gate_bias, strip / 2);
        finish_sums<Kernel>(sums, count, up.outer_scale, expert_.up_bias, strip / 2);
        visit_activation(activation, [&](auto const& act) { activate(exec_.level(), act, sums - count, sums, count); });
        keep(strip / 2, tile, tiles, up.rows, sums, inner_);
      });
    });
  }

  /// The strips of few tokens are too short to activate one by one: all rows of a range at once. Each matrix is read from end to
  /// end, as memory likes it; only the first strips of a range come unasked.
  template <class Activation>
  void gate_then_up(weight_rows<Kernel> const& gate, weight_rows<Kernel> const& up, Activation const& activation) {
    auto const width = up.rows;
    gates_.reserve(tokens_ * width);
    for_each_strip_range(exec_, up.strips(), 1, false, [&](std::int64_t first, std::int64_t last) {
      keep_products(gate, expert_.gate_bias, first, last, gates_);
      keep_products(up, expert_.up_bias, first, last, inner_);
      auto const begin = first * Kernel::rows, end = std::min(last * Kernel::rows, width);
      visit_activation(activation, [&](auto const& act) {
        for (std::int64_t t = 0; t < tokens_; ++t) {
          auto const at = t * width + begin;
          activate(exec_.level(), act, gates_.data() + at, inner_.data() + at, end - begin);
        }
      });
    });
  }

  template <class Activation>
  void up_alone(weight_rows<Kernel> const& up, Activation const& activation) {
    for_each_strip_range(exec_, up.strips(), 1, false, [&](std::int64_t first, std::int64_t last) {
      multiply_strips(entering_, first, last, up, [&](std::int64_t strip, std::int64_t tile, std::int64_t tiles, float* sums) {
        auto const count = tiles * tile_size;
        finish_sums<Kernel>(sums, count, up.outer_scale, expert_.up_bias, strip);
        visit_activation(activation, [&](auto const& act) { activate(exec_.level(), act, nullptr, sums, count); });
        keep(strip, tile, tiles, up.rows, sums, inner_);
      });
    });
  }

  void keep_products(weight_rows<Kernel> const& weights, array_view<float const> bias, std::int64_t first, std::int64_t last,
                     aligned_buffer<float> const& to) const {
    multiply_strips(entering_, first, last, weights, [&](std::int64_t strip, std::int64_t tile, std::int64_t tiles, float* sums) {
      finish_sums<Kernel>(sums, tiles * tile_size, weights.outer_scale, bias, strip);
      keep(strip, tile, tiles, weights.rows, sums, to);
    });
  }
  void keep(std::int64_t strip, std::int64_t tile, std::int64_t tiles, std::int64_t width, float const* sums,
            aligned_buffer<float> const& to) const {
    for_each_output<Kernel>(strip, tile, tiles, width, tokens_,
                            [&](std::int64_t t, std::int64_t n, std::int64_t at) { to.data()[t * width + n] = sums[at]; });
  }

  on_cpu exec_;
  gated_expert<M> const& expert_;
  std::int64_t tokens_ = 0;
  typename panel_of<Kernel>::type entering_, leaving_;
  aligned_buffer<float> gates_, inner_;
};

/// What all matrices of an expert are.
template <class M>
weight_kind kind_of(gated_expert<M> const& expert) {
  bool const gated = visit_matrix(expert.gate, [](auto const& m) { return m.rows > 0; });
  auto const entering = gated ? std::min(kind_of(expert.gate), kind_of(expert.up)) : kind_of(expert.up);
  return std::min(entering, kind_of(expert.down));
}
/// Whether bf16 holds some matrices of an expert and others not.
template <class M>
bool differs_in_bf16(gated_expert<M> const& expert) {
  bool const gated = visit_matrix(expert.gate, [](auto const& m) { return m.rows > 0; });
  bool const up = kind_of(expert.up) != weight_kind::any;
  return up != (kind_of(expert.down) != weight_kind::any) || (gated && up != (kind_of(expert.gate) != weight_kind::any));
}

/// Runs an expert whose matrices all have a kernel under `Policy`; false where they do not, and the reference has to.
template <class Policy, class M, class Activation>
bool run_by_kernel(on_cpu const& exec, gated_expert<M> const& expert, token_rows const& x, token_outputs const& out,
                   Activation const& activation) {
  bool const rounded = std::is_same_v<typename precision_of<Policy>::type, bf16_precision>;
  if (rounded && differs_in_bf16(expert)) return false;
  return with_kernel<Policy>(exec, kind_of(expert), [&]<class Kernel>() {
    expert_kernel<Kernel, Policy, M>{exec, expert}.run(x, out, activation);
  });
}

}  // namespace detail

CULL_NAMESPACE_END
