// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fuzz.hpp"
#include "model_text.hpp"

namespace fuzz {

inline std::vector<std::string_view> const& model_words() {
  static std::vector<std::string_view> const words{"\"num_experts\"",
                                                   "\"n_routed_experts\"",
                                                   "\"num_local_experts\"",
                                                   "\"moe_num_experts\"",
                                                   "\"num_experts_per_tok\"",
                                                   "\"num_hidden_layers\"",
                                                   "\"num_nextn_predict_layers\"",
                                                   "\"n_group\"",
                                                   "\"topk_group\"",
                                                   "\"model_type\"",
                                                   "\"text_config\"",
                                                   "\"quantization_config\"",
                                                   "\"ignore\"",
                                                   "\"zero_expert_num\"",
                                                   "\"glm_moe_dsa\"",
                                                   "\"glm4_moe\"",
                                                   "\"qwen3_moe\"",
                                                   "\"qwen3_5_moe\"",
                                                   "\"deepseek_v2\"",
                                                   "\"mixtral\"",
                                                   "\"minimax_m2\"",
                                                   "\"gpt_oss\"",
                                                   "\"ernie4_5_moe\"",
                                                   "\"hunyuan_v1_moe\"",
                                                   "\"longcat_flash\"",
                                                   "\"nemotron_h\"",
                                                   "\"F32\"",
                                                   "\"BF16\"",
                                                   "\"U8\"",
                                                   "\"F4\"",
                                                   "\"F6_E2M3\"",
                                                   "\"F8_E4M3\"",
                                                   "\"I64\"",
                                                   "\"model.layers.0.mlp.gate.weight\"",
                                                   "\"model.layers.0.mlp.gate.e_score_correction_bias\"",
                                                   "\"model.layers.1.mlp.experts.gate_up_proj\"",
                                                   "\"model.layers.0.mlp.experts.2.up_proj.weight\"",
                                                   "\"model.layers.0.mlp.experts.0.up_proj.input_scale\"",
                                                   "\"model.layers.0.mlp.experts.00.up_proj.weight\"",
                                                   "\"model.layers.2147483647.mlp.gate.weight\"",
                                                   "\"model.layers.0.mlp.moe_statics.e_score_correction_bias\"",
                                                   "\"own\"",
                                                   "\"drop\"",
                                                   "\"copy:0\"",
                                                   "\"max\"",
                                                   "\"keep\"",
                                                   "\"shard_bytes\"",
                                                   "\"layers\"",
                                                   "\"0\"",
                                                   "\"1\"",
                                                   "\"mtp\"",
                                                   "\"input_scales\"",
                                                   "[0,1]",
                                                   "[0,2]",
                                                   "[1,2,3]",
                                                   "\"model.layers.0.mlp.experts.*\"",
                                                   "\"model.layers.1.mlp.experts.1\"",
                                                   "\"\\u0000\"",
                                                   "\"__metadata__\"",
                                                   "{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}",
                                                   "\"total_size\"",
                                                   "\"weight_map\"",
                                                   "\"../x.safetensors\""};
  return words;
}

/// One change to a model's text: tokens of one section, or of a name in all sections at once; or a section more, less or under
/// another name. Mostly, offsets and the index are then made right again, so that changes reach what lies behind those checks.
class model_mutator {
 public:
  model_mutator(std::string_view text, unsigned seed) : random_(seed), sections_(split_model_text(text)) {}

  std::string mutated() {
    if (sections_.empty()) sections_.emplace_back("config.json", "{}");
    auto const kind = random_() % 16;
    if (kind < 11) {
      auto& text = any().second;
      text = token_mutator{text, static_cast<unsigned>(random_()), model_words()}.mutated();
    } else if (kind < 13) {
      rename_everywhere();
    } else if (kind == 13) {
      add_option();
    } else {
      change_sections();
    }
    repair();
    return join_model_text(sections_);
  }

 private:
  std::pair<std::string, std::string>& any() { return sections_[random_() % sections_.size()]; }

  /// A piece of a name, such as a number or "gate", in all files.
  void rename_everywhere() {
    static constexpr std::string_view pieces[] = {".0.",      ".1.",           ".2.",    "gate",        "up_proj", "experts",
                                                  "mlp.",     "model.layers.", "weight", "input_scale", "_scale",  "bias",
                                                  "\"BF16\"", "\"U8\"",        "[16,",   "[8,"};
    auto const count = std::size(pieces);
    auto const from = pieces[random_() % count], to = random_() % 8 == 0 ? std::string_view{""} : pieces[random_() % count];
    for (auto& [name, text] : sections_) {
      for (auto at = text.find(from); at != std::string::npos && text.size() < 8192; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
    }
  }
  void add_option() {
    static constexpr std::string_view words[] = {"trailing-data", "leading-space",   "unknown-fields",
                                                 "nul-in-names",  "adopt-unindexed", "duplicate-tensors"};
    static constexpr std::string_view faults[] = {"error:", "death:", "partial:"};
    auto const word = random_() % 2 == 0 ? std::string{words[random_() % std::size(words)]}
                                         : std::string{faults[random_() % 3]} + std::to_string(1 + random_() % 250);
    auto const found = std::find_if(sections_.begin(), sections_.end(), [](auto const& each) { return each.first == "options"; });
    if (found == sections_.end()) {
      sections_.emplace_back("options", word);
    } else {
      found->second = random_() % 4 == 0 ? word : found->second + " " + word;
    }
  }
  void change_sections() {
    static constexpr std::string_view names[] = {"model.safetensors",
                                                 "model-00001-of-00002.safetensors",
                                                 "mtp.safetensors",
                                                 "model.safetensors.index.json",
                                                 "hf_quant_config.json",
                                                 "config.json",
                                                 "a.bin",
                                                 "cull-plan.json",
                                                 "cull-manifest.json",
                                                 "tokenizer.json",
                                                 "plan",
                                                 "options"};
    auto const name = names[random_() % std::size(names)];
    switch (random_() % 3) {
      case 0:
        any().first = name;
        break;
      case 1:
        sections_.emplace_back(name, any().second);
        break;
      default:
        sections_.erase(sections_.begin() + static_cast<std::ptrdiff_t>(random_() % sections_.size()));
    }
  }
  void repair() {
    if (random_() % 8 != 0) {
      for (auto& [name, text] : sections_) {
        if (name.ends_with(".safetensors")) tile_header(text);
      }
    }
    if (random_() % 4 == 0) return;
    for (auto& [name, text] : sections_) {
      if (name == "model.safetensors.index.json") text = index_of(sections_);
    }
  }

  std::minstd_rand random_;
  model_text sections_;
};

}  // namespace fuzz
