// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/serving_check.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline std::string shape_text(std::vector<std::uint64_t> const& shape) {
  std::vector<std::string> out;
  for (auto const n : shape) out.push_back(std::to_string(n));
  return "[" + joined(out) + "]";
}

/// Shapes of NVFP4 experts, and the ranks over which they can be split.
class shape_checks {
 public:
  shape_checks(checkpoint const& model, expert_storage_table const& table)
      : table_(table), transposed_(model.family().fused.transposed) {}

  std::vector<serving_check> run() {
    std::vector<std::string> wrong;
    bool any = false;
    for (auto const& [key, matrix] : table_.matrices()) {
      if (!matrix.scheme.is_nvfp4()) continue;
      any = true;
      look_at(key, matrix, wrong);
    }
    if (!any) return {};
    out_.push_back({"NVFP4 scales are row by row, one for 16 values", when(wrong.empty(), serving_verdict::bad),
                    first_of(wrong, "all are"),
                    "reads them so and no other way; groups of 32 and scales in the order of a kernel's tiles are not told apart",
                    "likewise", "likewise"});
    check_width();
    return std::move(out_);
  }

 private:
  void look_at(matrix_key const& key, expert_matrix const& matrix, std::vector<std::string>& wrong) {
    auto const& weight = *matrix.weight();
    auto const* const scales = matrix.find(matrix.scheme.scales.front());
    auto wanted = weight.shape;
    if (wanted.size() < 2) return wrong.push_back(weight.name + " is no matrix");
    using kind = expert_matrix::kind;
    // [experts, in, out] where the family's fused weights are: values are packed, and scales shared, along "in".
    bool const transposed = transposed_ && key.fused();
    auto const rows = wanted[wanted.size() - (transposed ? 1 : 2)];
    auto& packed = wanted[wanted.size() - (transposed ? 2 : 1)];
    if (key.what == kind::gate_up || key.what == kind::up) widths_.insert(key.what == kind::gate_up ? rows / 2 : rows);
    gated_ = gated_ || key.what == kind::gate || key.what == kind::gate_up;
    // A byte has two values; F4 is counted in values.
    auto const per_scale = weight.type == dtype::f4 ? std::uint64_t{16} : std::uint64_t{8};
    bool const whole = packed % per_scale == 0;
    packed /= per_scale;
    if (scales == nullptr || (whole && scales->shape == wanted && scales->type == dtype::f8_e4m3)) return;
    wrong.push_back(scales->name + " is " + std::string{name(scales->type)} + " " + shape_text(scales->shape) +
                    (whole ? ", F8_E4M3 " + shape_text(wanted) + " is wanted" : ", and rows of weights end within a group"));
  }

  void check_width() {
    std::vector<std::string> groups, wide;
    for (auto const r : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{4}, std::uint64_t{8}, std::uint64_t{16}}) {
      bool fits = true, fits_wide = true;
      for (auto const width : widths_) {
        fits = fits && width % (16 * r) == 0;
        fits_wide = fits_wide && 2 * width % (128 * r) == 0;
      }
      if (fits) groups.push_back(std::to_string(r));
      if (fits && fits_wide) wide.push_back(std::to_string(r));
    }
    std::vector<std::string> widths;
    for (auto const width : widths_) widths.push_back(std::to_string(width));
    bool const suits = !gated_ || !wide.empty();
    out_.push_back({"the experts' width splits over tensor-parallel ranks",
                    groups.empty() ? serving_verdict::bad : when(suits, serving_verdict::note),
                    "width " + joined(widths) + ": whole groups on " + (groups.empty() ? "no number of" : joined(groups)) +
                        " rank(s)" + (gated_ ? ", multiples of 64 on " + (wide.empty() ? "none" : joined(wide)) : ""),
                    "a group of 16 that is split loses its scales; backends but TensorRT-LLM's, which pads, refuse gated "
                    "experts whose gate and up together are no multiple of 128 on each rank, Marlin pads to 64",
                    "likewise", "pads to 64, or 128 without a gate"});
  }

  expert_storage_table const& table_;
  bool transposed_;
  std::set<std::uint64_t> widths_;
  bool gated_ = false;
  std::vector<serving_check> out_;
};

}  // namespace detail
CULL_NAMESPACE_END
