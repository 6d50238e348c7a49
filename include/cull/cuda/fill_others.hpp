// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Pairs without an expert of weights: a zero-compute expert's output is its input, an id that is none gives NaN, so that a wrong
/// routing is seen and not summed. A warp looks through 32 pairs and works on those together.
struct fill_others {
  using Shared = no_shared;
  static constexpr unsigned threads = 128;

  std::int32_t const* ids;
  std::int64_t id_stride;
  float const* weights;  // of the inputs, or null
  std::int64_t weight_stride;
  std::int32_t tokens;
  std::int32_t k;
  std::int32_t experts;       // with weights
  std::int32_t zero_experts;  // after them
  float const* x;
  std::int64_t x_stride;
  std::int32_t hidden;
  float* outputs;  // or null
  std::int64_t output_stride;
  double* norms;  // or null
  std::int64_t norm_stride;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&) const {
    auto const pairs = static_cast<std::int64_t>(tokens) * k;
    auto const first = (static_cast<std::int64_t>(c.block()) * (threads / 32) + c.warp()) * 32;
    auto const mine = first + c.lane();
    auto const id = mine < pairs ? c.load(ids + mine / k * id_stride + mine % k) : 0;
    auto waiting = c.ballot(mine < pairs && (id < 0 || id >= experts), all_lanes);
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (((waiting >> lane) & 1u) == 0) continue;
      fill(c, first + lane, c.shuffle(id, lane, all_lanes));
    }
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void fill(C const& c, std::int64_t pair, std::int32_t id) const {
    bool const known = id >= 0 && id < experts + zero_experts;
    auto const* const from = x + pair / k * x_stride;
    float const factor = weights != nullptr ? c.load(weights + pair / k * weight_stride + pair % k) : 1.0f;
    float const nothing = __builtin_bit_cast(float, 0x7fc00000u);
    double squares = 0.0;
    for (auto h = static_cast<std::int32_t>(c.lane()); h < hidden; h += 32) {
      float const value = known ? (weights != nullptr ? factor * c.load(from + h) : c.load(from + h)) : nothing;
      if (outputs != nullptr) c.store(outputs + pair * output_stride + h, value);
      squares = c.fma(static_cast<double>(value), static_cast<double>(value), squares);
    }
    for (unsigned bits = 16; bits != 0; bits /= 2) squares += c.shuffle_xor(squares, bits, all_lanes);
    if (norms != nullptr && c.lane() == 0) c.store(norms + pair / k * norm_stride + pair % k, std::sqrt(squares));
  }
};

}  // namespace simt

CULL_NAMESPACE_END
