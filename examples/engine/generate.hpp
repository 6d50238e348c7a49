// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include <engine/decoder.hpp>
#include <engine/sampling.hpp>

namespace engine {

enum class finish_reason {
  stop,    ///< the last new id is one of the stop ids
  length,  ///< max_tokens were written
};

/// A prompt with what the model wrote behind it.
struct trace {
  std::string id;
  std::vector<int> ids;  ///< prompt and new ids
  std::vector<int> new_ids;
  finish_reason finish = finish_reason::length;
};

struct generate_options {
  engine::precision precision = engine::precision::f32;
  std::optional<std::int64_t> index_topk = {};
  std::int64_t prompts_at_once = 256;  ///< their caches are in memory together; 0: all
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};  ///< in prompts
  /// Logits `[vocabulary]` from which the id behind `position` of prompt number `prompt` is drawn.
  std::function<void(std::size_t prompt, std::int64_t position, cull::array_view<float const> logits)> on_logits = {};
};

/// Continues every prompt with a cache of keys and values. A trace depends on its prompt, its number and the settings alone, not
/// on threads or on the other prompts; its logits are the bits that decoder::run gives for the same ids.
std::vector<trace> generate(cull::checkpoint const& model, cull::on_cpu exec, std::span<prompt const> prompts,
                            sampling const& settings, generate_options const& options = {});

}  // namespace engine
