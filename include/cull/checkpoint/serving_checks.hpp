// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/input_scales.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/serving/config_checks.hpp>
#include <cull/checkpoint/serving/count_checks.hpp>
#include <cull/checkpoint/serving/expert_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/quantization_facts.hpp>
#include <cull/checkpoint/serving/scale_checks.hpp>
#include <cull/checkpoint/serving/serving_check.hpp>
#include <cull/checkpoint/serving/shape_checks.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What serving engines demand of a checkpoint and do not always check
/// themselves. Reads headers, scalars and, unless told otherwise, block scales.
/// From the sources of vLLM, SGLang and TensorRT-LLM as of autumn 2026.
inline std::vector<serving_check> serving_checks(checkpoint const& model, block_scales scales = block_scales::scan) {
  detail::expert_storage_table const table{model};
  detail::quantization_facts const facts{model};
  detail::expert_settings const settings{facts};
  auto out = detail::count_checks{model, table}.run();
  for (auto& list : {detail::scale_checks{model, table, settings}.run(scales), detail::shape_checks{model, table}.run(),
                     detail::config_checks{model, table, facts, settings}.run()}) {
    out.insert(out.end(), list.begin(), list.end());
  }
  return out;
}

/// What becomes of the widest scale of activations of each layer where a plan is applied: engines that quantise all experts'
/// activations by it compute something else without the expert that had it. Reads the source's scalars.
inline serving_check input_scale_check(checkpoint const& source, pruning_plan const& plan) {
  auto const lost = lost_input_scales(source, keep_sets(source, plan));
  auto const factor = [](input_scale_change const& c) { return std::fabs(std::log(c.before / c.after)); };
  auto const worst =
      std::max_element(lost.begin(), lost.end(), [&](auto const& a, auto const& b) { return factor(a) < factor(b); });
  bool const given = plan.input_scales == input_scales::max;
  std::string found = lost.empty() ? "all are left" : given ? "every expert was given the layer's: " : "";
  if (!lost.empty()) {
    found += std::to_string(lost.size()) + " went with a dropped expert, most in layer " + std::to_string(worst->layer) + " " +
             worst->tensor + ": " + detail::short_number(worst->before) + " -> " + detail::short_number(worst->after);
  }
  return {"the widest input scale of every layer is left",
          detail::when(lost.empty() || given, serving_verdict::note),
          found,
          "FlashInfer's backends and emulation take the widest of all experts, so the survivors' activations are quantised on "
          "another grid than before; its own CUTLASS keeps each expert's, Marlin reads none; --input-scale max keeps the "
          "former for all",
          "as vLLM where it calls the same kernels",
          "takes the widest of all experts"};
}

CULL_NAMESPACE_END
