// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/expert_tensors.hpp>
#include <cull/checkpoint/serving/expert_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What a matrix's own weights need beside them, and what its peers have.
inline void find_missing_parts(expert_matrix const* matrix, std::string const& stem, std::set<std::string_view> const& usual,
                               bool weights_only, std::vector<std::string>& out) {
  auto const* const weight = matrix == nullptr ? nullptr : matrix->weight();
  if (weight == nullptr) return out.push_back(stem + ".weight is missing");
  auto wanted = matrix->scheme.scales;
  if (!matrix->scheme.input_scale.empty() && !weights_only) wanted.push_back(matrix->scheme.input_scale);
  for (auto const suffix : usual) {
    if (std::find(wanted.begin(), wanted.end(), suffix) == wanted.end()) wanted.push_back(suffix);
  }
  for (auto const suffix : wanted) {
    if (matrix->find(suffix) == nullptr) out.push_back(stem + std::string{suffix} + " is missing");
  }
}

/// What the matrices of a layer's experts have, by matrix and by the way they are stored.
using usual_parts = std::map<std::pair<expert_matrix::kind, storage_scheme::kind>, std::set<std::string_view>>;

inline usual_parts parts_of_layer(expert_storage_table const& table, int layer) {
  usual_parts out;
  for (auto at = table.matrices().lower_bound({layer, 0, {}}); at != table.matrices().end() && at->first.layer == layer; ++at) {
    auto& parts = out[{at->first.what, at->second.scheme.what}];
    for (auto const& part : at->second.parts) parts.insert(part.first);
  }
  return out;
}

/// Tensors that experts lack, and experts that config.json knows nothing of: each expert's every matrix has its weights, all
/// scales that these need, and what the same matrix, stored in the same way, has in another expert of the layer.
inline std::vector<std::string> missing_tensors(checkpoint const& model, expert_storage_table const& table,
                                                expert_settings const& settings) {
  std::vector<std::string> out;
  for (int const layer : model.moe_layers()) {
    bool const fused = table.is_fused(layer);
    auto const needed = table.needed(layer);
    auto usual = parts_of_layer(table, layer);
    auto const module = expert_module(model, layer);
    for (int e = fused ? -1 : 0; e < (fused ? 0 : model.experts(layer)); ++e) {
      for (auto const& [what, stem] : needed) {
        auto const* const matrix = table.find({layer, e, what});
        auto const scheme = matrix == nullptr ? storage_scheme::kind::unknown : matrix->scheme.what;
        auto const name = fused ? model.name_in(layer, stem) : model.name_in(layer, e, stem);
        find_missing_parts(matrix, name, usual[{what, scheme}], settings.is_weights_only(name, module), out);
      }
    }
    for (int const number : table.numbers(layer)) {
      if (number < model.experts(layer)) continue;
      out.push_back("layer " + std::to_string(layer) + " has tensors of expert " + std::to_string(number) +
                    ", config.json says there are " + std::to_string(model.experts(layer)));
    }
  }
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
