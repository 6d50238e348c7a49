// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <cull/checkpoint.hpp>
#include <cull/expert.hpp>

#include <engine/buffer.hpp>

namespace engine {

/// What activations are rounded to where they enter a product with a stored weight.
enum class precision { f32, bf16 };

/// Rounds every value to the nearest bf16 where `policy` asks for it.
void round_activations(precision policy, matrix_view<float> values);

/// The one place where the engine multiplies by stored weights. Results for a token do not depend on the batch or the threads.
class dense {
 public:
  explicit dense(cull::on_cpu exec, precision policy = precision::f32) : exec_(exec), policy_(policy) {}

  cull::on_cpu const& exec() const { return exec_; }
  engine::precision policy() const { return policy_; }

  /// x `[m, K]` times the transpose of w `[N, K]`: `[m, N]`.
  buffer operator()(matrix_view<float const> x, cull::weight_matrix const& w) const;
  /// x `[m, hidden]` through a gated MLP with silu: `[m, hidden]`.
  buffer operator()(matrix_view<float const> x, cull::gated_expert<> const& mlp) const;

 private:
  cull::on_cpu exec_;
  engine::precision policy_;
};

/// Decodes one row `[cols]` without its outer scale, which is returned.
float decode_row(cull::weight_matrix const& weight, std::int64_t row, float* out);

/// The named matrix, of the shape that config.json promises; throws errc::shape_mismatch with the tensor's name.
cull::weight_matrix load_matrix(cull::checkpoint const& model, std::string const& name, std::int64_t rows, std::int64_t cols);

/// The named vector, likewise.
std::vector<float> load_vector(cull::checkpoint const& model, std::string const& name, std::int64_t size);

}  // namespace engine
