// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include <engine/decoder.hpp>
#include <engine/figure.hpp>
#include <engine/generate.hpp>

namespace engine {

/// Tokens per run of the model when the MTP layer drafts: 1 for the model's own, and the drafts that it confirms.
struct acceptance_length {
  int drafts = 0;
  figure length;  ///< between 1 and drafts + 1; bootstrap over traces
};

/// The drafts behind every position: `ids[d][t]` is what the MTP layer, applied d + 1 times, proposes for position t + 2 + d of a
/// sequence, knowing its ids up to t + 1. The layer's later steps take its own output, before `shared_head.norm`, as hidden state
/// and its own draft as next id, at the next position, with what it remembers of the sequence up to t (as vLLM's MTP does).
struct draft_table {
  std::vector<std::vector<int>> ids;  ///< [drafts][tokens - 1]
};

/// Of one sequence whose final-normed hidden states are known.
class drafter {
 public:
  /// Throws cull::error `unsupported_model` where there is no MTP layer.
  drafter(cull::checkpoint const& model, cull::on_cpu exec, decoder_options options);

  model_config const& config() const { return config_; }
  draft_table draft(std::span<int const> ids, matrix_view<float const> normed, int drafts) const;

 private:
  model_config config_;
  dense products_;
  embedding embedding_;
  head head_;
  mtp_layer mtp_;
};

/// How many tokens a trace takes per run of the model, with 1 to `most` drafts, if it was written greedily: a draft counts where
/// the trace goes on with it. Empty where the model has no MTP layer.
std::vector<acceptance_length> acceptance_lengths(cull::checkpoint const& model, cull::on_cpu exec, std::span<trace const> traces,
                                           int most, decoder_options options = {});

/// Tokens and model runs of one trace: ids from `first_new` on are taken in steps of a confirmed run of drafts and one more.
ratio_part walk(std::span<int const> ids, std::size_t first_new, draft_table const& drafts, int most);

}  // namespace engine
