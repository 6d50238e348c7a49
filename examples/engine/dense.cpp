// SPDX-License-Identifier: Apache-2.0
#include <engine/dense.hpp>

#include <cull/error.hpp>
#include <cull/numeric/bf16.hpp>

namespace engine {
namespace {

[[noreturn]] void wrong_shape(std::string const& name, std::string const& found, std::string const& wanted) {
  throw cull::error{cull::errc::shape_mismatch, "shape is " + found + ", config.json asks for " + wanted, {.tensor = name}};
}

std::string shape(std::int64_t rows, std::int64_t cols) {
  std::string out{"["};
  out += std::to_string(rows);
  out += ", ";
  out += std::to_string(cols);
  return out += "]";
}

}  // namespace

void round_activations(precision policy, matrix_view<float> values) {
  if (policy == precision::f32) return;
  for (std::int64_t i = 0; i < values.rows(); ++i) {
    for (float& value : values.row(i)) value = cull::bf16::encode(value).decode();
  }
}

buffer dense::operator()(matrix_view<float const> x, cull::weight_matrix const& w) const {
  buffer out{x.rows(), w.rows()};
  if (x.rows() == 0) return out;
  if (policy_ == precision::bf16) {
    cull::matmul<cull::bf16_precision>(exec_, x, w, out.view());
  } else {
    cull::matmul(exec_, x, w, out.view());
  }
  return out;
}

buffer dense::operator()(matrix_view<float const> x, cull::gated_expert<> const& mlp) const {
  buffer out{x.rows(), mlp.down.rows()};
  if (x.rows() == 0) return out;
  if (policy_ == precision::bf16) {
    cull::expert_mlp<cull::bf16_precision>(exec_, mlp, x, out.view());
  } else {
    cull::expert_mlp(exec_, mlp, x, out.view());
  }
  return out;
}

float decode_row(cull::weight_matrix const& weight, std::int64_t row, float* out) {
  return weight.visit([&](auto const& m) {
    using format = typename std::remove_cvref_t<decltype(m)>::format;
    for (std::int64_t g = 0; g * format::group < m.cols; ++g) format::decode_group(m.parts, row, g, out + g * format::group);
    return static_cast<float>(format::outer_scale(m.parts));
  });
}

cull::weight_matrix load_matrix(cull::checkpoint const& model, std::string const& name, std::int64_t rows, std::int64_t cols) {
  auto matrix = model.matrix(name);
  if (matrix.rows() != rows || matrix.cols() != cols) wrong_shape(name, shape(matrix.rows(), matrix.cols()), shape(rows, cols));
  return matrix;
}

std::vector<float> load_vector(cull::checkpoint const& model, std::string const& name, std::int64_t size) {
  auto values = model.values(name);
  if (static_cast<std::int64_t>(values.size()) != size) {
    wrong_shape(name, std::to_string(values.size()) + " values", std::to_string(size));
  }
  return values;
}

}  // namespace engine
