// SPDX-License-Identifier: Apache-2.0
// What serving engines demand, of configs: each row from a good checkpoint, and from one that is broken in that respect and no
// other.
#include "serving_cases.hpp"

namespace serving_test {

TEST_CASE("serving: what the configs say") {
  served const it{model_dir()};
  std::string const algorithm = "the configs say", lists = "lists of modules", hits = "no entry", plain = "are on a list";
  auto const without = [&](char const* key) {
    return serving_case{algorithm, bad, std::string{"hf_quant_config.json has no "} + key,
                        [=](auto& m) { (*m.quant)["quantization"].erase(key); }};
  };
  std::string const gone = "model.layers.2.mlp.experts.64.up_proj";
  check_cases(it, {without("group_size"),
                   without("kv_cache_quant_algo"),
                   without("exclude_modules"),
                   {algorithm, bad, "hf_quant_config.json says quant_algo FP8",
                    [](auto& m) { (*m.quant)["quantization"]["quant_algo"] = "fp8"; }},
                   {algorithm, bad, "config.json says quant_algo MIXED_PRECISION",
                    [](auto& m) { m.config["quantization_config"]["quant_algo"] = "mixed_precision"; }},
                   {algorithm, good, "modelopt", [](auto& m) { m.config["quantization_config"]["quant_algo"] = "nvfp4"; }},
                   {algorithm, bad, "a group_size of 32", [](auto& m) { (*m.quant)["quantization"]["group_size"] = 32; }},
                   {algorithm, bad, "a group_size of 32",
                    [](auto& m) { m.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 32; }},
                   {algorithm, note, "kv_cache_scheme is not float of 8 bits",
                    [](auto& m) {
                      m.config["quantization_config"]["kv_cache_scheme"] = {{"type", "int"}, {"num_bits", 8}};
                    }},
                   {algorithm, good, "modelopt",
                    [](auto& m) {
                      m.config["quantization_config"]["kv_cache_scheme"] = {{"type", "float"}, {"num_bits", 8}};
                    }},
                   {algorithm, note, "there is no hf_quant_config.json", [](auto& m) { m.quant.reset(); }},
                   {algorithm, bad, "neither config says",
                    [](auto& m) {
                      m.quant.reset();
                      m.config.erase("quantization_config");
                    }},
                   {lists, note, gone + " is not there", [&](auto& m) { m.exclude(gone); }},
                   {lists, note, "model.layers.6.mlp.experts.1.up_proj is not there",
                    [](auto& m) { m.exclude("model.layers.6.mlp.experts.1.up_proj"); }},
                   {lists, note, gone + " is not there",
                    [&](auto& m) {
                      (*m.quant)["quantization"]["quantized_layers"][gone] = {{"quant_algo", "NVFP4"}};
                    }},
                   {lists, note, gone + " is not there",
                    [&](auto& m) { m.config["quantization_config"]["config_groups"]["group_0"]["targets"].push_back(gone); }},
                   {lists, note, "differ", [](auto& m) { m.config["quantization_config"]["ignore"].push_back("visual"); }},
                   {hits, bad, "model.layers.1 hits model.layers.1.mlp.experts.0.", [](auto& m) { m.exclude("model.layers.1"); }},
                   {hits, bad, "model.layers.3.mlp.experts.6 hits model.layers.3.mlp.experts.6",
                    [](auto& m) { m.exclude("model.layers.3.mlp.experts.6"); }},
                   {hits, bad, "model.layers.4.mlp.* hits model.layers.4.mlp.experts.0.",
                    [](auto& m) { m.exclude("model.layers.4.mlp.*"); }},
                   {hits, bad, "*.up_proj hits", [](auto& m) { m.exclude("*.up_proj"); }},
                   {hits, good, "none does", [](auto& m) { m.exclude("model.layers.2*.self_attn"); }},
                   {hits, good, "none does", [](auto& m) { m.exclude("model.layers.7"); }}});

  // A draft that is not quantised.
  auto draft = it;
  for (int e = 0; e < 64; ++e) {
    for (auto const* const part : {"gate_proj", "up_proj", "down_proj"}) draft.make_plain(expert(5, e) + part);
  }
  CHECK(row(draft.checks(), plain).verdict == bad);
  CHECK(mentions(row(draft.checks(), plain).found, "model.layers.5.mlp.experts.0.down_proj is not and 2 more"));
  for (auto const* const entry :
       {"model.layers.5.mlp.experts*", "model.layers.5*", "*layers.5.mlp*", "model.layers.5.mlp.experts"}) {
    CAPTURE(entry);
    auto listed = draft;
    listed.exclude(entry);
    CHECK(row(listed.checks(), plain).verdict == good);
    CHECK(row(listed.checks(), hits).verdict == good);
  }

  served const packed{fs::path{CULL_TEST_DATA} / "families/qwen3_moe.compressed_tensors_nvfp4/model"};
  CHECK(row(packed.checks(), algorithm).verdict == good);
  check_cases(packed, {{algorithm, bad, "nvfp4-pack-quantized",
                        [](auto& m) { m.config["quantization_config"]["format"] = "pack-quantized"; }},
                       {hits, bad, "re:.*mlp.* hits model.layers.0.mlp.experts.0.", [](auto& m) { m.exclude("re:.*mlp.*"); }},
                       {hits, good, "none does", [](auto& m) { m.exclude("model.layers.0"); }},
                       {hits, good, "none does", [](auto& m) { m.exclude("re:(?P<python>x)"); }}});
}

}  // namespace serving_test
