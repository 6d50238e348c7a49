// SPDX-License-Identifier: Apache-2.0
// What serving engines demand, of configs: each row from a good checkpoint, and from one that is broken in that respect and no
// other.
#include "serving_cases.hpp"

namespace serving_test {

TEST_CASE("serving: what the configs say") {
  served const it{model_dir()};
  std::string const algorithm = "the configs say", lists = "lists of modules", hits = "no entry", plain = "are on a list";
  // config.json says all there is to say; without it, an engine that demands them has nowhere else to look.
  auto const without = [&](char const* key, serving_verdict verdict) {
    return serving_case{algorithm, verdict, std::string{"hf_quant_config.json has no "} + key, [=](auto& m) {
                          if (verdict == bad) m.config.erase("quantization_config");
                          (*m.quant)["quantization"].erase(key);
                        }};
  };
  std::string const gone = "model.layers.2.mlp.experts.64.up_proj";
  check_cases(it, {without("group_size", note),
                   without("kv_cache_quant_algo", note),
                   without("exclude_modules", note),
                   without("group_size", bad),
                   without("kv_cache_quant_algo", bad),
                   {algorithm, bad, "hf_quant_config.json says quant_algo FP8",
                    [](auto& m) { (*m.quant)["quantization"]["quant_algo"] = "fp8"; }},
                   {algorithm, bad, "config.json says quant_algo MIXED_PRECISION without quantized_layers",
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
                   // The wildcard is split from a name alone: what is left of these would hit as a part, or nothing.
                   {hits, good, "none does", [](auto& m) { m.exclude("mlp.*"); }},
                   {hits, good, "none does", [](auto& m) { m.exclude("experts.*"); }},
                   {hits, bad, "mlp* hits model.layers.1.mlp.experts.0.", [](auto& m) { m.exclude("mlp*"); }},
                   {hits, bad, "* hits model.layers.1.mlp.experts.0.", [](auto& m) { m.exclude("*"); }},
                   // Of other experts than the first.
                   {hits, bad, "model.layers.3.mlp.experts.5.* hits model.layers.3.mlp.experts.5.",
                    [](auto& m) { m.exclude("model.layers.3.mlp.experts.5.*"); }},
                   {hits, good, "none does", [](auto& m) { m.exclude("model.layers.7"); }}});

  // Mixed precision names every module's algorithm: the experts' alone is looked at.
  auto mixed = it;
  auto const layers = [](served& m, std::function<void(json&)> const& change) {
    change(m.config["quantization_config"]["quantized_layers"]);
    change((*m.quant)["quantization"]["quantized_layers"]);
  };
  mixed.config["quantization_config"]["quant_algo"] = (*mixed.quant)["quantization"]["quant_algo"] = "mixed_precision";
  for (auto const* const key : {"group_size", "exclude_modules"}) (*mixed.quant)["quantization"].erase(key);
  (*mixed.quant)["quantization"]["exclude_modules"] = mixed.config["quantization_config"]["ignore"];
  layers(mixed, [](json& of) {
    of["model.layers.0.self_attn.q_a_proj"] = {{"quant_algo", "FP8"}, {"group_size", 128}};
    of["model.layers.1.mlp.experts"] = of["model.layers.2.mlp.gate_proj"] = of["model.layers.2.mlp.up_proj"] =
        of["model.layers.2.mlp.down_proj"] = {{"quant_algo", "nvfp4"}, {"group_size", 16}};
    for (auto const* const layer : {"3", "4", "5"}) {
      for (auto const* const part : {"gate_proj", "up_proj", "down_proj"}) {
        for (int e = 0; e < 64; ++e)
          of[std::string{"model.layers."} + layer + ".mlp.experts." + std::to_string(e) + "." + part] = {{"quant_algo", "NVFP4"},
                                                                                                         {"group_size", 16}};
      }
    }
  });
  for (auto const& c : mixed.checks()) {
    CAPTURE(c.demand);
    CAPTURE(c.found);
    CHECK(c.verdict == good);
  }
  std::string const complete = "all its tensors", one = expert(4, 9) + "up_proj";
  check_cases(mixed,
              {{algorithm, bad, "config.json says quant_algo FP8 of " + one + " and 1 more",
                [&](auto& m) { layers(m, [&](json& of) { of[one]["quant_algo"] = "FP8"; }); }},
               {algorithm, bad, "a group_size of 32", [&](auto& m) { layers(m, [&](json& of) { of[one]["group_size"] = 32; }); }},
               {algorithm, good, "modelopt", [&](auto& m) { layers(m, [&](json& of) { of.erase(one); }); }},
               {algorithm, bad, "config.json says no quant_algo of model.layers.1.mlp.experts.0.",
                [&](auto& m) { layers(m, [](json& of) { of.erase("model.layers.1.mlp.experts"); }); }},
               // Activations of one layer are not quantised.
               {complete, bad, "model.layers.1.mlp.experts.0.gate_proj.input_scale is missing and 191 more",
                [](auto& m) {
                  std::erase_if(m.tensors, [](auto const& each) {
                    return mentions(each.first, "model.layers.1.mlp.experts.") && mentions(each.first, ".input_scale");
                  });
                }},
               {complete, good, "nothing is missing", [&](auto& m) {
                  layers(m, [](json& of) { of["model.layers.1.mlp.experts"]["quant_algo"] = "W4A16_NVFP4"; });
                  std::erase_if(m.tensors, [](auto const& each) {
                    return mentions(each.first, "model.layers.1.mlp.experts.") && mentions(each.first, ".input_scale");
                  });
                }}});

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

  // Mixed precision leaves alone what it does not name.
  auto unnamed = mixed;
  for (int e = 0; e < 64; ++e) {
    for (auto const* const part : {"gate_proj", "up_proj", "down_proj"}) unnamed.make_plain(expert(5, e) + part);
  }
  CHECK(row(unnamed.checks(), plain).verdict == bad);
  layers(unnamed, [](json& of) {
    for (auto at = of.begin(); at != of.end();) at = mentions(at.key(), "model.layers.5.") ? of.erase(at) : std::next(at);
  });
  CHECK(row(unnamed.checks(), plain).verdict == good);
  CHECK(row(unnamed.checks(), algorithm).verdict == good);

  served const packed{fs::path{CULL_TEST_DATA} / "families/qwen3_moe.compressed_tensors_nvfp4/model"};
  CHECK(row(packed.checks(), algorithm).verdict == good);
  check_cases(packed, {{algorithm, bad, "nvfp4-pack-quantized",
                        [](auto& m) { m.config["quantization_config"]["format"] = "pack-quantized"; }},
                       {hits, bad, "re:.*mlp.* hits model.layers.0.mlp.experts.0.", [](auto& m) { m.exclude("re:.*mlp.*"); }},
                       {hits, good, "none does", [](auto& m) { m.exclude("model.layers.0"); }},
                       {hits, bad, "hits model.layers.0.mlp.experts.5.", [](auto& m) { m.exclude("re:.*experts\\.5\\..*"); }},
                       {hits, bad, "model.layers.0.mlp.experts.5.up_proj hits model.layers.0.mlp.experts.5.up_proj",
                        [](auto& m) { m.exclude("model.layers.0.mlp.experts.5.up_proj"); }},
                       {hits, good, "none does", [](auto& m) { m.exclude("model.layers.0.mlp.experts.5"); }},
                       {hits, good, "none does", [](auto& m) { m.exclude("re:(?P<python>x)"); }}});

  // Groups of formats of their own, of which the experts have one.
  auto groups = packed;
  auto& config = groups.config["quantization_config"];
  config["format"] = "mixed-precision";
  auto& of_experts = config["config_groups"]["group_0"];
  of_experts["format"] = "nvfp4-pack-quantized";
  config["config_groups"]["attention"] = {{"targets", {"re:.*self_attn.*"}},
                                          {"format", "float-quantized"},
                                          {"weights", {{"num_bits", 8}, {"type", "float"}, {"group_size", 128}}}};
  CHECK(row(groups.checks(), algorithm).verdict == good);
  check_cases(
      groups,
      {{algorithm, good, "compressed-tensors",
        [](auto& m) { m.config["quantization_config"]["config_groups"]["group_0"]["targets"] = {"re:.*mlp\\.experts.*"}; }},
       {algorithm,
        bad,
        "nvfp4-pack-quantized but float-quantized",
        [](auto& m) {
          auto& targets = m.config["quantization_config"]["config_groups"];
          targets["attention"]["targets"].push_back("re:.*experts\\.7\\.up_proj");
          targets["attention"]["weights"].erase("group_size");
        },
        {complete}},
       {algorithm,
        bad,
        "a group_size of 128",
        [](auto& m) {
          auto& targets = m.config["quantization_config"]["config_groups"];
          targets["attention"]["targets"].push_back("re:.*experts.*");
          targets["attention"]["format"] = "nvfp4-pack-quantized";
        },
        {complete}},
       {algorithm, bad, "no group of config.json has a target that model.layers.0.mlp.experts.0.down_proj matches and 95 more",
        [](auto& m) { m.config["quantization_config"]["config_groups"].erase("group_0"); }},
       {algorithm, good, "compressed-tensors", [](auto& m) {
          m.config["quantization_config"]["config_groups"].erase("group_0");
          m.config["quantization_config"]["config_groups"]["attention"]["targets"].push_back("re:(?P<python>experts)");
        }}});

  // Attention alone is quantised.
  served attention{fs::path{CULL_TEST_DATA} / "families/qwen3_moe/model"};
  attention.config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                             {"format", "float-quantized"},
                                             {"config_groups", {{"group_0", {{"targets", {"re:.*self_attn.*"}}}}}},
                                             {"ignore", {"lm_head"}}};
  CHECK(row(attention.checks(), plain).verdict == good);
  attention.config["quantization_config"]["config_groups"]["group_0"]["targets"] = {"Linear"};
  CHECK(row(attention.checks(), plain).verdict == bad);
}

}  // namespace serving_test
