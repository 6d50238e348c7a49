// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <engine/dense.hpp>

namespace engine {

/// A stored matrix, and its bias where the model has one.
class linear {
 public:
  /// `name` without ".weight"; weight `[rows, cols]`, bias `[rows]`.
  linear(cull::checkpoint const& model, std::string const& name, std::int64_t rows, std::int64_t cols)
      : weight_(load_matrix(model, name + ".weight", rows, cols)) {
    if (model.find(name + ".bias") != nullptr) bias_ = load_vector(model, name + ".bias", rows);
  }

  /// x `[m, cols]` to `[m, rows]`.
  buffer operator()(dense const& products, matrix_view<float const> x) const {
    buffer out = products(x, weight_);
    for (std::int64_t t = 0; t < out.rows() && !bias_.empty(); ++t) {
      for (std::int64_t i = 0; i < out.cols(); ++i) out.row(t)[i] += bias_[static_cast<std::size_t>(i)];
    }
    return out;
  }

 private:
  cull::weight_matrix weight_;
  std::vector<float> bias_;
};

}  // namespace engine
