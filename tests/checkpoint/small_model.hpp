// SPDX-License-Identifier: Apache-2.0
// The smallest model that has everything a pruned one is made of: two shards, an index, experts with scales of activations, lists
// of modules by name, a side file in a folder.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <cull/checkpoint/safetensors_writer.hpp>

namespace checkpoint_test {

inline void write_small_model(std::filesystem::path const& dir) {
  std::filesystem::create_directories(dir / "assets");
  std::vector<float> const numbers{1, 2, 3, 4, 5, 6, 7, 8};
  auto const data = std::as_bytes(std::span{numbers});
  std::vector<cull::tensor_source> first, second;
  std::string map, separator;
  auto const add = [&](int shard, std::string const& name, cull::dtype type, std::vector<std::uint64_t> const& shape,
                       std::span<std::byte const> bytes) {
    (shard == 1 ? first : second).push_back({name, type, shape, bytes});
    map += separator + "\"" + name + "\": \"model-0000" + std::to_string(shard) + "-of-00002.safetensors\"";
    separator = ", ";
  };
  add(1, "model.embed_tokens.weight", cull::dtype::bf16, {4, 2}, data.first(16));
  add(1, "model.layers.0.mlp.gate.weight", cull::dtype::f32, {4, 2}, data);
  for (int e = 0; e < 4; ++e) {
    for (std::string const part : {"gate_proj", "up_proj", "down_proj"}) {
      auto const stem = "model.layers.0.mlp.experts." + std::to_string(e) + "." + part;
      add(e < 2 ? 1 : 2, stem + ".weight", cull::dtype::bf16, {2, 2}, data.subspan(static_cast<std::size_t>(e), 8));
      add(e < 2 ? 1 : 2, stem + ".input_scale", cull::dtype::f32, {}, data.subspan(static_cast<std::size_t>(e) * 4, 4));
    }
  }
  cull::write_safetensors(dir / "model-00001-of-00002.safetensors", {{"format", "pt"}}, first);
  cull::write_safetensors(dir / "model-00002-of-00002.safetensors", {{"format", "pt"}}, second);
  std::ofstream{dir / "model.safetensors.index.json"} << "{\"metadata\": {\"total_size\": 192}, \"weight_map\": {" << map
                                                      << "}}\n";
  std::ofstream{dir / "config.json"} << R"({"model_type": "olmoe", "num_hidden_layers": 1, "num_experts": 4,
 "num_experts_per_tok": 2, "norm_topk_prob": false, "hidden_size": 2, "intermediate_size": 2, "hidden_act": "silu",
 "quantization_config": {"ignore": ["lm_head", "model.layers.0.mlp.experts.2.up_proj"]}})";
  std::ofstream{dir / "hf_quant_config.json"} << R"({"quantization": {"exclude_modules": ["lm_head"]}})";
  std::ofstream{dir / "assets" / "notes.txt"} << "a side file\n";
}

inline bool same_tree(std::filesystem::path const& a, std::filesystem::path const& b) {
  auto const list = [](std::filesystem::path const& top) {
    std::set<std::pair<std::string, std::string>> out;
    for (auto const& each : std::filesystem::recursive_directory_iterator{top}) {
      if (!each.is_regular_file()) continue;
      std::ifstream in{each.path(), std::ios::binary};
      out.insert({each.path().lexically_relative(top).string(), {std::istreambuf_iterator<char>{in}, {}}});
    }
    return out;
  };
  return list(a) == list(b);
}

}  // namespace checkpoint_test
