// SPDX-License-Identifier: Apache-2.0
// Your own idea: a measure, a criterion, a router stage and a matrix format, without touching the library.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

#include <cull/selection.hpp>

namespace {

/// A measure: per routed token one addend; its name is that of its tensor in files.
struct gate_squared {
  static constexpr std::string_view name = "sum_g2";
  double operator()(cull::routed_token const& t) const { return t.weight * (t.gate * t.gate); }
};

/// A router stage: divides the logits by a temperature before anything else looks at them.
struct temperature {
  static constexpr auto reads = cull::row_part::logits;
  static constexpr auto writes = cull::row_part::logits;
  static constexpr auto before = cull::row_part::scores;
  float value;
  void operator()(cull::row_ref row) const {
    for (auto& logit : row.scores) logit /= value;
  }
};

/// A matrix format: int8 with one scale per row.
struct int8_rows {
  struct parts {
    std::int8_t const* values;
    float const* scales;
    std::int64_t cols;
  };
  static constexpr std::int64_t group = 1;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    *out = static_cast<float>(p.values[row * p.cols + column]) * p.scales[row];
  }
  static float outer_scale(parts const&) noexcept { return 1.0f; }
};
static_assert(cull::matrix_format<int8_rows>);

}  // namespace

int main() {
  cull::on_cpu const exec{};
  // Router weight of 4 experts over 2 features, stored in the format above.
  std::vector<std::int8_t> const values{100, 0, 0, 100, -100, 0, 0, -100};
  std::vector<float> const scales{.01f, .01f, .02f, .02f};
  cull::matrix<int8_rows> const weight{{values.data(), scales.data(), 2}, 4, 2};
  std::vector<float> const x{1.f, .5f, -1.f, .25f, .5f, 2.f};
  std::vector<float> logits(3 * 4);
  cull::matmul(exec, cull::matrix_view<float const>{x.data(), 3, 2}, weight, cull::matrix_view<float>{logits.data(), 3, 4});

  auto const router = temperature{2.f} | cull::score<cull::softmax>() | cull::choose(2) | cull::renormalize(0.f);
  cull::routing_buffer chosen;
  cull::route(exec, router, cull::matrix_view<float const>{logits.data(), 3, 4}, chosen);

  std::vector<double> const norms{1, 2, 3, 4, 5, 6};
  cull::observation seen{exec, {.layers = {0}, .experts = 4}, cull::weight, cull::gate_norm, gate_squared{}};
  cull::add(exec, seen.at(0), chosen.view(), {.norms = cull::matrix_view<double const>{norms.data(), 3, 2}});
  seen.finish();

  auto const bold = [](auto const& e) {
    return e.mean(cull::gate_norm) + 2 * e.standard_error(cull::gate_norm) + e.sum(gate_squared{});
  };
  auto const keep = cull::select(seen, bold, cull::keep{2});
  for (int const id : keep.layers[0].kept) std::printf("keep expert %d\n", id);
  return keep.layers[0].kept.size() == 2 ? 0 : 1;
}
