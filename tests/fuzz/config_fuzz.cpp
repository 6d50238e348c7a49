// SPDX-License-Identifier: Apache-2.0
// Whatever a config.json holds, its patch is refused or changes exactly the counts and the names of experts.
#include <cull/checkpoint/find_family.hpp>
#include <cull/checkpoint/rewrite_config.hpp>
#include <nlohmann/json.hpp>

#include "fuzz.hpp"

namespace {

cull::family const& glm() {
  static auto const found = cull::known_family("glm_moe_dsa");
  return found;
}

std::map<int, std::vector<int>> const kept{{1, {0, 2}}, {2, {1, 3}}};

/// The document with every count set to one number, as the patch of any such document must leave it.
nlohmann::json levelled(nlohmann::json tree) {
  for (auto const& section : glm().config_sections) {
    auto* const at = section.empty() ? &tree : tree.contains(section) ? &tree.at(section) : nullptr;
    for (auto const& key : glm().count_keys) {
      if (at == nullptr || !at->is_object() || !at->contains(key)) continue;
      auto& value = at->at(key);
      if (value.is_number()) value = 0;
      if (value.is_array()) {
        for (auto& each : value) {
          if (each.is_number()) each = 0;
        }
      }
    }
  }
  return tree;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  auto const text = fuzz::text_of(data, size);
  nlohmann::json tree;
  if (!fuzz::answers([&] { tree = cull::detail::parse_json(text, "f"); })) return 0;
  cull::detail::renaming const by{.family = &glm(), .kept = &kept, .before = 4, .experts = 2, .hidden_layers = 3};
  std::string patched;
  if (!fuzz::answers([&] { patched = cull::detail::rewrite_config(by, text, "f"); })) return 0;
  auto const after = nlohmann::json::parse(patched, nullptr, false);
  fuzz::require(!after.is_discarded(), "a patched text is JSON");
  if (text.find("experts.") == std::string_view::npos && text.find('\\') == std::string_view::npos)
    fuzz::require(levelled(after) == levelled(tree), "nothing but counts has changed");
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  static std::vector<std::string_view> const words{"4",
                                                   "\"n_routed_experts\"",
                                                   "\"num_experts\"",
                                                   "\"model.layers.1.mlp.experts.0\"",
                                                   "\"model.layers.1.mlp.experts.2.up_proj\"",
                                                   "\"model.layers.2.mlp.experts.*\"",
                                                   "\"ignore\"",
                                                   "\"quantization_config\"",
                                                   "[4,4,4]",
                                                   "\"\\\"\"",
                                                   "\"\\u0061\"",
                                                   "\"\\ud83d\\ude00\"",
                                                   "1e5",
                                                   "-0.0"};
  if (seed % 5 == 0) return LLVMFuzzerMutate(data, size, most);
  return fuzz::put(fuzz::token_mutator{std::string{fuzz::text_of(data, size)}, seed, words}.mutated(), data, most);
}
