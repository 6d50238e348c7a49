// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/serving/expert_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/missing_tensors.hpp>
#include <cull/checkpoint/serving/quantization_facts.hpp>
#include <cull/checkpoint/serving/scale_checks.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What a careful user wants to know before pruning, from headers and scalar tensors: experts that lack a tensor, numbers beyond
/// the count, scales that make no sense or that serving engines treat otherwise. Empty: nothing found.
inline std::vector<std::string> audit(checkpoint const& model) {
  auto out = model.warnings();
  auto const append = [&](std::vector<std::string> const& found) { out.insert(out.end(), found.begin(), found.end()); };
  detail::expert_storage_table const table{model};
  detail::quantization_facts const facts{model};
  append(detail::missing_tensors(model, table, detail::expert_settings{facts}));
  append(detail::tensor_scale_faults(model));
  for (auto const& layer : detail::unequal_weight_scales(model, table))
    out.push_back(layer + "; serving engines use the gate's for both");
  return out;
}

CULL_NAMESPACE_END
