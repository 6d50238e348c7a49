// SPDX-License-Identifier: Apache-2.0
// What a converted matrix must hold, value by value and block by block.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <cull/config.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/dequantize.hpp>
#include <cull/tensor/quantize_block.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline std::vector<float> row_values(weight_matrix const& m, std::int64_t row) {
  std::vector<float> out(static_cast<std::size_t>(m.cols()));
  m.visit([&]<class F>(matrix<F> const& known) {
    for (std::int64_t g = 0; g * F::group < known.cols; ++g) dequantize_group<F>(known.parts, row, g, out.data() + g * F::group);
  });
  return out;
}

template <class Format, class Round>
bool same_values(weight_matrix const& from, weight_matrix const& to, Round const& round) {
  if (to.get_if<Format>() == nullptr) return false;
  for (std::int64_t r = 0; r < from.rows(); ++r) {
    auto wanted = row_values(from, r);
    for (float& v : wanted) v = round(v);
    auto const found = row_values(to, r);
    if (std::memcmp(wanted.data(), found.data(), wanted.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

template <class A, class B>
bool same_codes(matrix<A> const& a, matrix<B> const& b) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    auto const x = r * a.parts.row_step * a.cols, y = r * b.parts.row_step * b.cols;
    if (std::memcmp(a.parts.codes + x / 2, b.parts.codes + y / 2, static_cast<std::size_t>(a.cols / 2)) != 0) return false;
    if (std::memcmp(a.parts.scales + x / 16, b.parts.scales + y / 16, static_cast<std::size_t>(a.cols / 16)) != 0) return false;
  }
  return true;
}

template <class Dialect>
bool is_scale_of(float scale, std::vector<weight_matrix> const& sharing) {
  float amax = 0;
  for (auto const& m : sharing) {
    for (std::int64_t r = 0; r < m.rows(); ++r) {
      for (float const v : row_values(m, r)) amax = std::max(amax, std::fabs(v));
    }
  }
  if constexpr (std::is_same_v<Dialect, modelopt>) return scale == amax / 2688.0f;
  float const own = 2688.0f * (1.0f / amax);
  return scale == (std::isfinite(own) ? own : 1.0f);
}

template <class Dialect>
bool same_quantized(weight_matrix const& from, matrix<nvfp4<Dialect>> const& to) {
  auto const& p = to.parts;
  for (std::int64_t r = 0; r < to.rows; ++r) {
    auto const values = row_values(from, r);
    for (std::int64_t b = 0; b < to.cols / 16; ++b) {
      std::uint8_t codes[8];
      float const* const block = values.data() + b * 16;
      auto const scale = std::is_same_v<Dialect, modelopt> ? quantize_block_modelopt(block, p.tensor_scale, codes)
                                                           : quantize_block_compressed(block, p.tensor_scale, codes);
      auto const at = r * p.row_step * to.cols + b * 16;
      if (p.scales[at / 16] != scale.bits || std::memcmp(p.codes + at / 2, codes, 8) != 0) return false;
    }
  }
  return true;
}

template <class Dialect>
bool same_nvfp4(weight_matrix const& from, weight_matrix const& to, std::vector<weight_matrix> const& sharing) {
  auto const* const out = to.get_if<nvfp4<Dialect>>();
  if (out == nullptr) return false;
  using other = std::conditional_t<std::is_same_v<Dialect, modelopt>, compressed_tensors, modelopt>;
  float const scale = out->parts.tensor_scale;
  if (auto const* const in = from.get_if<nvfp4<Dialect>>()) return scale == in->parts.tensor_scale && same_codes(*in, *out);
  if (auto const* const in = from.get_if<nvfp4<other>>()) {
    bool const reciprocal = scale == 1.0f / in->parts.tensor_scale || in->parts.tensor_scale == 1.0f / scale;
    return reciprocal && same_codes(*in, *out);
  }
  return is_scale_of<Dialect>(scale, {from}) || is_scale_of<Dialect>(scale, sharing) ? same_quantized<Dialect>(from, *out)
                                                                                     : false;
}

}  // namespace detail

CULL_NAMESPACE_END
