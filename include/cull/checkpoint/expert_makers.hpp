// SPDX-License-Identifier: Apache-2.0
// Functions that make one tensor of a converted expert; each holds at most one matrix in memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/buffers.hpp>
#include <cull/tensor/convert_dialect.hpp>
#include <cull/tensor/dequantize.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

using tensor_maker = std::function<void(byte_sink const&)>;

template <class T, class Exec>
std::vector<T> all_values(Exec const& exec, weight_matrix const& m) {
  std::vector<T> out(static_cast<std::size_t>(m.rows() * m.cols()));
  m.visit([&](auto const& known) { dequantize(exec, known, matrix_view<T>{out.data(), m.rows(), m.cols()}); });
  return out;
}

/// Values of several matrices, one after another; each stored [cols, rows] where `transposed`.
template <class T, class Exec>
tensor_maker make_values(Exec const& exec, std::vector<weight_matrix> matrices, bool transposed) {
  return [exec, matrices = std::move(matrices), transposed](byte_sink const& sink) {
    for (auto const& m : matrices) {
      auto values = all_values<T>(exec, m);
      if (transposed) {
        std::vector<T> turned(values.size());
        for (std::int64_t r = 0; r < m.rows(); ++r) {
          for (std::int64_t c = 0; c < m.cols(); ++c) {
            turned[static_cast<std::size_t>(c * m.rows() + r)] = values[static_cast<std::size_t>(r * m.cols() + c)];
          }
        }
        values = std::move(turned);
      }
      sink(std::as_bytes(std::span{values}));
    }
  };
}

inline tensor_maker make_scalar(std::function<float()> value) {
  return [value = std::move(value)](byte_sink const& sink) {
    float const number = value();
    sink(std::as_bytes(std::span{&number, 1}));
  };
}

/// Rows of stored NVFP4 as they are: `bytes_per_row` of codes or scales.
inline tensor_maker copy_rows(std::uint8_t const* first, std::int64_t rows, std::int64_t bytes_per_row, std::int64_t row_step) {
  return [=](byte_sink const& sink) {
    auto const row = [&](std::int64_t r) {
      return std::as_bytes(std::span{first + r * row_step * bytes_per_row, static_cast<std::size_t>(bytes_per_row)});
    };
    if (row_step == 1 && rows > 0) {
      sink(std::as_bytes(std::span{first, static_cast<std::size_t>(rows * bytes_per_row)}));
    } else {
      for (std::int64_t r = 0; r < rows; ++r) sink(row(r));
    }
  };
}

/// The parts of an NVFP4 matrix as a checkpoint stores them.
struct nvfp4_makers {
  tensor_maker codes, scales;
  std::function<float()> tensor_scale;
};

template <class Dialect>
nvfp4_makers copy_nvfp4(matrix<nvfp4<Dialect>> const& m) {
  auto const& p = m.parts;
  return {copy_rows(p.codes, m.rows, p.cols / 2, p.row_step), copy_rows(p.scales, m.rows, p.cols / 16, p.row_step),
          [scale = p.tensor_scale] { return scale; }};
}

/// The tensor scale that a quantiser takes for the largest magnitude of the matrices that share it; found once, when first
/// needed.
template <class Dialect, class Exec>
std::function<float()> shared_scale(Exec const& exec, std::vector<weight_matrix> sharing) {
  auto const known = std::make_shared<std::optional<float>>();
  return [exec, sharing = std::move(sharing), known] {
    if (*known) return **known;
    float amax = 0;
    for (auto const& m : sharing) {
      for (float const v : all_values<float>(exec, m)) amax = std::max(amax, std::fabs(v));
    }
    if constexpr (std::is_same_v<Dialect, modelopt>) {
      *known = amax / 2688.0f;
    } else {
      float const scale = 2688.0f * (1.0f / amax);
      *known = std::isfinite(scale) ? scale : 1.0f;
    }
    return **known;
  };
}

template <class Dialect, class Exec>
nvfp4_makers quantize_nvfp4(Exec const& exec, weight_matrix const& m, std::function<float()> scale) {
  using buffer_type = std::conditional_t<std::is_same_v<Dialect, modelopt>, nvfp4_buffer, nvfp4_compressed_buffer>;
  auto const quantized = [exec, m, scale] {
    auto const values = all_values<float>(exec, m);
    buffer_type out;
    quantize(exec, Dialect{}, matrix_view<float const>{values.data(), m.rows(), m.cols()}, out, scale());
    return out;
  };
  // Codes and scales lie apart in a file, so each is quantised for itself instead of kept.
  auto const part = [quantized](std::vector<std::uint8_t> buffer_type::*which) {
    return [quantized, which](byte_sink const& sink) {
      auto const made = quantized();
      sink(std::as_bytes(std::span{made.*which}));
    };
  };
  return {part(&buffer_type::codes), part(&buffer_type::scales), scale};
}

/// A matrix as NVFP4 in `Dialect`: copied where it is stored so, its scale inverted where it is of the other dialect (`original`:
/// what it was before, if known), else quantised with the scale of `sharing`.
template <class Dialect, class Exec>
nvfp4_makers as_nvfp4(Exec const& exec, weight_matrix const& m, std::vector<weight_matrix> sharing,
                      std::optional<float> original) {
  using other = std::conditional_t<std::is_same_v<Dialect, modelopt>, compressed_tensors, modelopt>;
  if (auto const* const same = m.template get_if<nvfp4<Dialect>>()) return copy_nvfp4(*same);
  if (auto const* const turned = m.template get_if<nvfp4<other>>())
    return copy_nvfp4(convert_dialect<Dialect>(*turned, original));
  if (m.cols() % 16 != 0) {
    throw error{errc::shape_mismatch, "NVFP4 needs columns in sixteens, this matrix has " + std::to_string(m.cols())};
  }
  return quantize_nvfp4<Dialect>(exec, m, shared_scale<Dialect>(exec, std::move(sharing)));
}

}  // namespace detail

CULL_NAMESPACE_END
