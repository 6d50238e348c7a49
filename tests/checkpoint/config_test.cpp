// SPDX-License-Identifier: Apache-2.0
// config.json: reading by key, and edits that leave every other byte alone.
#include <doctest/doctest.h>

#include <cull/checkpoint/find_family.hpp>
#include <cull/checkpoint/rewrite_config.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

/// Two layers that keep {1, 3}, and layer 9 that is dropped.
struct small_pruning {
  std::map<int, std::vector<int>> kept{{2, {1, 3}}, {4, {0, 3}}};
  cull::family glm = cull::known_family("glm_moe_dsa");
  cull::detail::renaming names{&glm, &kept, 64, 2, 9, false};
};

std::string config_after(std::string const& text, bool drop_mtp = false) {
  small_pruning by;
  by.names.mtp_dropped = drop_mtp;
  return cull::detail::rewrite_config(by.names, text, "config.json");
}
std::string quant_after(std::string const& text) { return cull::detail::rewrite_quant_config(small_pruning{}.names, text, "q"); }

}  // namespace

TEST_CASE("config_view: types are checked, keys are dotted, numbers are not converted") {
  cull::config_view const c{
      R"({"a": 3, "b": {"c": 1.5, "d": true}, "e": "x", "f": [1, 2], "g": null, "h": ["u", "v"], "big": 1e3})", "f.json"};
  CHECK(c.integer("a") == 3);
  CHECK(c.number("a") == 3);
  CHECK(c.number("b.c") == 1.5);
  CHECK(c.boolean("b.d"));
  CHECK(c.text("e") == "x");
  CHECK(c.integers("f") == std::vector<std::int64_t>{1, 2});
  CHECK(c.integers("a") == std::vector<std::int64_t>{3});
  CHECK(c.texts("h") == std::vector<std::string>{"u", "v"});
  CHECK_FALSE(c.has("g"));
  CHECK_FALSE(c.has("b.x"));
  CHECK_FALSE(c.has("a.x"));
  CHECK(c.integer("g", 7) == 7);
  CHECK(c.text("missing", "z") == "z");
  CHECK(code_of([&] { c.integer("b.c"); }) == cull::errc::bad_config);
  CHECK(code_of([&] { c.integer("big"); }) == cull::errc::bad_config);
  CHECK(code_of([&] { c.boolean("a"); }) == cull::errc::bad_config);
  CHECK(code_of([&] { c.texts("f"); }) == cull::errc::bad_config);
  auto const missing = failure_of([&] { c.integer("b.nope"); });
  CHECK(missing.code() == cull::errc::bad_config);
  CHECK(mentions(missing.what(), "b.nope"));
  CHECK(missing.where().file == "f.json");
}

TEST_CASE("rewrite_config: every alias of the count, and nothing else") {
  CHECK(config_after("{\"num_experts\":64}") == "{\"num_experts\":2}");
  CHECK(config_after("{\n\t\"n_routed_experts\" :  64 ,\r\n \"x\": 1.50, \"num_local_experts\": null, \"y\": {\"num_experts\": "
                     "64}, \"num_experts\": 64}\n\n") ==
        "{\n\t\"n_routed_experts\" :  2 ,\r\n \"x\": 1.50, \"num_local_experts\": null, \"y\": {\"num_experts\": 64}, "
        "\"num_experts\": 2}\n\n");
  CHECK(config_after("{\"a\": \"num_experts\", \"num_nextn_predict_layers\": 1}") ==
        "{\"a\": \"num_experts\", \"num_nextn_predict_layers\": 1}");
  CHECK(config_after("{\"num_nextn_predict_layers\": 1}", true) == "{\"num_nextn_predict_layers\": 0}");
  CHECK(config_after("{\"\\u006eum_experts\": 64}") == "{\"\\u006eum_experts\": 2}");
  CHECK(config_after("{\"a\": \"} , \\\" { [\", \"num_experts\": 64}") == "{\"a\": \"} , \\\" { [\", \"num_experts\": 2}");
  // Found by fuzzing: members of an object under the key are no list of counts.
  CHECK(config_after("{\"num_experts\": {\"num_experts\": 64, \"a\": 64}}") ==
        "{\"num_experts\": {\"num_experts\": 64, \"a\": 64}}");
  CHECK(config_after("{\"num_experts\": [64, [64], {\"num_experts\": 64}]}") ==
        "{\"num_experts\": [2, [64], {\"num_experts\": 64}]}");
}

TEST_CASE("rewrite_config: names of experts are renumbered or go, patterns of modules stay") {
  auto const ignore = [](std::string const& list) {
    return config_after("{\"quantization_config\": {\"ignore\": [" + list + "]}}");
  };
  auto const wanted = [](std::string const& list) { return "{\"quantization_config\": {\"ignore\": [" + list + "]}}"; };
  CHECK(ignore("\"lm_head\", \"model.layers.2.mlp.gate\", \"*mlp.gate*\", \"model.layers.9.*\"") ==
        wanted("\"lm_head\", \"model.layers.2.mlp.gate\", \"*mlp.gate*\", \"model.layers.9.*\""));
  CHECK(ignore("\"model.layers.2.mlp.experts.3.up_proj\"") == wanted("\"model.layers.2.mlp.experts.1.up_proj\""));
  CHECK(ignore("\"model.layers.4.mlp.experts.3\"") == wanted("\"model.layers.4.mlp.experts.1\""));
  CHECK(ignore("\"model.layers.2.mlp.experts.0.up_proj\"") == wanted(""));
  CHECK(ignore("\"a\",\n  \"model.layers.2.mlp.experts.0.up_proj\",\n  \"b\"") == wanted("\"a\",\n  \"b\""));
  CHECK(ignore("\"model.layers.2.mlp.experts.0.up_proj\", \"b\"") == wanted("\"b\""));
  CHECK(ignore("\"a\",  \"model.layers.2.mlp.experts.2.up_proj\"") == wanted("\"a\""));
  CHECK(ignore("\"model.layers.2.mlp.shared_experts.up_proj\"") == wanted("\"model.layers.2.mlp.shared_experts.up_proj\""));
  CHECK(ignore("\"model.layers.2.mlp.experts.*\"") == wanted("\"model.layers.2.mlp.experts.*\""));
  CHECK(ignore("\"model.layers.9.mlp.experts.3.up_proj\"") == wanted(""));
  for (auto const ambiguous : {"\"model.layers.2.mlp.experts.3*\"", "\"model.layers.*.mlp.experts.3.up_proj\""}) {
    CHECK(code_of([&] { ignore(ambiguous); }) == cull::errc::bad_config);
  }
  CHECK(quant_after("{\"quantization\": {\"quantized_layers\": {\"model.layers.2.mlp.experts.3.up_proj\": {\"a\": 1}, "
                    "\"model.layers.2.mlp.experts.0.up_proj\": {\"a\": 2}, \"lm_head\": {}}}}") ==
        "{\"quantization\": {\"quantized_layers\": {\"model.layers.2.mlp.experts.1.up_proj\": {\"a\": 1}, \"lm_head\": {}}}}");
}

TEST_CASE("rewrite_config: members that change in and beside each other") {
  // Found by fuzzing: a list that loses an element, in an object that loses a member.
  CHECK(config_after(
            "{\"q\":{\"ignore\":[\"lm_head\",\"model.layers.2.mlp.experts.0.up_proj\"],\"model.layers.2.mlp.experts.0\":{}}}") ==
        "{\"q\":{\"ignore\":[\"lm_head\"]}}");
  CHECK(config_after("{\"model.layers.2.mlp.experts.0\": {\"num_experts\": 64, \"i\": [\"model.layers.2.mlp.experts.3\"]}, "
                     "\"model.layers.2.mlp.experts.3\": [\"model.layers.2.mlp.experts.3\", 1]}") ==
        "{\"model.layers.2.mlp.experts.1\": [\"model.layers.2.mlp.experts.1\", 1]}");
  CHECK(config_after("[\"model.layers.2.mlp.experts.0\" , \"model.layers.2.mlp.experts.2\" ]") == "[ ]");
  CHECK(config_after("[1, \"model.layers.2.mlp.experts.0\", \"model.layers.2.mlp.experts.2\", 2]") == "[1, 2]");
}

TEST_CASE("rewrite_config: the shipped config changes in two numbers") {
  auto const text = slurp(model_dir() / "config.json");
  auto wanted = text;
  for (auto const key : {"\"n_routed_experts\": 64", "\"num_experts\": 64"}) {
    auto const at = wanted.find(key);
    REQUIRE(at != std::string::npos);
    wanted.replace(at + std::string{key}.size() - 2, 2, "2");
  }
  CHECK(config_after(text) == wanted);
  auto const quant = slurp(model_dir() / "hf_quant_config.json");
  CHECK(quant_after(quant) == quant);
}

TEST_CASE("locate: names are taken apart by the family's patterns only") {
  auto const glm = cull::known_family("glm_moe_dsa");
  auto const expert = cull::locate(glm, 78, "model.layers.12.mlp.experts.7.up_proj.weight_scale_2");
  CHECK(expert.layer == 12);
  CHECK(expert.expert == 7);
  CHECK(expert.rest == "up_proj.weight_scale_2");
  CHECK(cull::locate(glm, 78, "model.layers.12.mlp.shared_experts.up_proj.weight").expert == -1);
  CHECK(cull::locate(glm, 78, "model.layers.12.mlp.gate.weight").rest == "mlp.gate.weight");
  CHECK(cull::locate(glm, 78, "lm_head.weight").layer == -1);
  for (auto const odd :
       {"model.layers.012.mlp.gate.weight", "model.layers.-1.x", "model.layers.99999999999.x", "model.layers.1"}) {
    CHECK(cull::locate(glm, 78, odd).layer == -1);
  }
  CHECK(cull::locate(glm, 78, "model.layers.3.mlp.experts.07.up_proj.weight").expert == -1);
}
