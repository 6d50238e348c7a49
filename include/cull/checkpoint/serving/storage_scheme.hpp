// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// How a matrix is stored, told by the tensors that share its stem, and which others it then needs.
struct storage_scheme {
  enum class kind { plain, nvfp4_modelopt, nvfp4_compressed, int_compressed, fp8_blocks, fp8, mxfp4, unknown };
  kind what = kind::unknown;
  std::string_view weight;                    ///< suffix of the tensor of weights
  std::vector<std::string_view> scales = {};  ///< suffixes of what the weights mean nothing without
  std::string_view input_scale = {};          ///< of the activations' scale, where the scheme has one

  bool is_nvfp4() const { return what == kind::nvfp4_modelopt || what == kind::nvfp4_compressed; }
  std::string_view name() const {
    switch (what) {
      case kind::plain:
        return "not quantised";
      case kind::nvfp4_modelopt:
        return "NVFP4 (modelopt)";
      case kind::nvfp4_compressed:
        return "NVFP4 (compressed-tensors)";
      case kind::int_compressed:
        return "packed integers (compressed-tensors)";
      case kind::fp8_blocks:
        return "FP8 in blocks";
      case kind::fp8:
        return "FP8";
      case kind::mxfp4:
        return "MXFP4";
      case kind::unknown:
        break;
    }
    return "something unknown";
  }
};

/// `find(suffix)`: the tensor of that suffix, or null. `fused`: one tensor for all experts, whose suffixes begin with "_".
/// Nothing known where there are no weights.
template <class Find>
storage_scheme scheme_of(bool fused, Find&& find) {
  using kind = storage_scheme::kind;
  auto const has = [&](std::string_view suffix) { return find(suffix) != nullptr; };
  if (has("_blocks")) return {kind::mxfp4, "_blocks", {"_scales"}};
  std::string_view const packed = has(".weight_packed") ? ".weight_packed" : "_packed";
  if (auto const* const t = find(packed)) {
    bool const own = packed.front() == '.';
    if (t->type != dtype::u8) return {kind::int_compressed, packed, {own ? ".weight_scale" : "_scale"}};
    return {kind::nvfp4_compressed, packed,
            own ? std::vector<std::string_view>{".weight_scale", ".weight_global_scale"}
                : std::vector<std::string_view>{"_scale", "_global_scale"},
            own ? ".input_global_scale" : "_input_global_scale"};
  }
  std::string_view const weight = has(".weight") || !fused ? ".weight" : "";
  auto const* const t = find(weight);
  if (t == nullptr) return {};
  bool const dotted = !fused || has(".weight_scale") || has(".weight_scale_inv") || has(".weight_scale_2");
  if (t->type == dtype::u8 || t->type == dtype::f4) {
    return {kind::nvfp4_modelopt, weight,
            dotted ? std::vector<std::string_view>{".weight_scale", ".weight_scale_2"}
                   : std::vector<std::string_view>{"_weight_scale", "_weight_scale_2"},
            dotted ? ".input_scale" : "_input_scale"};
  }
  if (t->type == dtype::f8_e4m3) {
    for (std::string_view const blocks : {".weight_scale_inv", "_weight_scale_inv", "_scale_inv"}) {
      if (has(blocks)) return {kind::fp8_blocks, weight, {blocks}};
    }
    return {kind::fp8, weight, {dotted ? ".weight_scale" : "_weight_scale"}};
  }
  bool const plain = t->type == dtype::bf16 || t->type == dtype::f16 || t->type == dtype::f32;
  return {plain ? kind::plain : kind::unknown, weight};
}

}  // namespace detail
CULL_NAMESPACE_END
