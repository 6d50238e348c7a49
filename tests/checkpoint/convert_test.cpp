// SPDX-License-Identifier: Apache-2.0
// Experts in other formats: the bytes of nvidia-modelopt and compressed-tensors, their dequantised values, and nothing else
// changed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cull/checkpoint.hpp>
#include <cull/cpu.hpp>

#include <support/sanitized.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;
using cull::expert_storage;

fs::path family(std::string const& name) { return fs::path{CULL_TEST_DATA} / "families" / name / "model"; }
fs::path tiny() { return fs::path{CULL_TEST_DATA} / "tiny-glm" / "model"; }
void convert(fs::path const& from, expert_storage to, fs::path const& out,
             cull::scale_sharing sharing = cull::scale_sharing::gate_and_up) {
  cull::convert(cull::on_cpu{2}, cull::checkpoint::open(from), {.to = to, .sharing = sharing}, out);
}

/// Counts tensors of `ours` that `theirs` lacks or has otherwise; names that `ignored` accepts do not count.
template <class Ignored>
std::int64_t differences(fs::path const& ours, fs::path const& theirs, Ignored const& ignored) {
  auto const a = all_tensors(ours);
  auto const b = all_tensors(theirs);
  std::int64_t out = 0;
  for (auto const& [name, t] : a) {
    if (ignored(name)) continue;
    auto const found = b.find(name);
    bool const same =
        found != b.end() && found->second.dtype == t.dtype && found->second.shape == t.shape && found->second.bytes == t.bytes;
    out += same ? 0 : 1;
  }
  for (auto const& [name, t] : b) out += !ignored(name) && a.find(name) == a.end() ? 1 : 0;
  return out;
}

bool nothing(std::string const&) { return false; }
bool is_input_scale(std::string const& name) { return name.ends_with(".input_scale") || name.ends_with(".input_global_scale"); }
bool is_expert(std::string const& name) { return name.find(".experts.") != std::string::npos; }

}  // namespace

TEST_CASE("convert: bf16 to NVFP4 gives the bytes that nvidia-modelopt and compressed-tensors wrote") {
  struct example {
    std::string from, theirs;
    expert_storage to;
    cull::scale_sharing sharing = cull::scale_sharing::gate_and_up;
  };
  for (auto const& e : {example{"qwen3_moe", "qwen3_moe.modelopt_nvfp4", expert_storage::modelopt_nvfp4},
                        example{"deepseek_v3", "deepseek_v3.modelopt_nvfp4", expert_storage::modelopt_nvfp4},
                        example{"mixtral", "mixtral.modelopt_nvfp4", expert_storage::modelopt_nvfp4},
                        example{"qwen3_moe.fused", "qwen3_moe.modelopt_nvfp4", expert_storage::modelopt_nvfp4},
                        example{"qwen3_moe", "qwen3_moe.compressed_tensors_nvfp4", expert_storage::compressed_tensors_nvfp4,
                                cull::scale_sharing::none}}) {
    auto const& from = e.from;
    CAPTURE(from);
    scratch_folder const folder;
    convert(family(e.from), e.to, folder / "out", e.sharing);
    CHECK(differences(folder / "out", family(e.theirs), is_input_scale) == 0);
  }
}

TEST_CASE("convert: gate and up share the scale of the larger, whichever dialect") {
  scratch_folder const folder;
  convert(family("qwen3_moe"), expert_storage::compressed_tensors_nvfp4, folder / "out");
  auto const ours = all_tensors(folder / "out");
  auto const apart = all_tensors(family("qwen3_moe.compressed_tensors_nvfp4"));
  for (auto const& [name, t] : ours) {
    auto const at = name.find("gate_proj.weight_global_scale");
    if (at == std::string::npos) continue;
    auto const up = name.substr(0, at) + "up_proj.weight_global_scale";
    float const smaller = std::min(apart.at(name).as<float>().at(0), apart.at(up).as<float>().at(0));
    CHECK(t.as<float>().at(0) == smaller);
    CHECK(ours.at(up).as<float>().at(0) == smaller);
  }
}

TEST_CASE("convert: from one NVFP4 dialect to the other and back") {
  scratch_folder const folder;
  auto const source = cull::checkpoint::open(tiny());
  convert(tiny(), expert_storage::compressed_tensors_nvfp4, folder / "compressed");
  auto const compressed = cull::checkpoint::open(folder / "compressed");
  CHECK(compressed.experts() == 64);
  auto const before = all_tensors(tiny());
  auto const between = all_tensors(folder / "compressed");
  std::int64_t wrong = 0;
  for (auto const& [name, t] : before) {
    if (!is_expert(name)) {
      wrong += between.at(name).bytes == t.bytes ? 0 : 1;
    } else if (name.ends_with(".weight")) {
      wrong += between.at(name + "_packed").bytes == t.bytes ? 0 : 1;
    } else if (name.ends_with(".weight_scale")) {
      wrong += between.at(name).bytes == t.bytes ? 0 : 1;
    } else if (name.ends_with(".weight_scale_2")) {
      auto const& other = between.at(name.substr(0, name.size() - 7) + "global_scale");
      wrong += other.shape == std::vector<std::int64_t>{1} && other.as<float>().at(0) == 1.0f / t.as<float>().at(0) ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(between.size() == before.size());
  auto const config = read_json(folder / "compressed/config.json");
  CHECK(config.at("quantization_config").at("quant_method") == "compressed-tensors");
  CHECK(config.at("quantization_config").at("format") == "nvfp4-pack-quantized");
  CHECK(config.at("quantization_config").at("config_groups").at("group_0").contains("input_activations"));

  cull::convert(cull::on_cpu{}, compressed, {.to = expert_storage::modelopt_nvfp4, .original = source}, folder / "back");
  CHECK(differences(folder / "back", tiny(), nothing) == 0);
  // Without the original one scale in six comes back with other bits, and nothing else does.
  cull::convert(cull::on_cpu{}, compressed, {.to = expert_storage::modelopt_nvfp4}, folder / "alone");
  auto const scales = [](std::string const& name) { return name.ends_with("_scale_2") || is_input_scale(name); };
  CHECK(differences(folder / "alone", tiny(), scales) == 0);
}

TEST_CASE("convert: bf16 and f32 values are modelopt's, the config forgets the quantisation, all else stays") {
  scratch_folder const folder;
  convert(tiny(), expert_storage::f32, folder / "f32");
  convert(tiny(), expert_storage::bf16, folder / "bf16");
  auto const before = all_tensors(tiny());
  auto const f32 = all_tensors(folder / "f32");
  auto const bf16 = all_tensors(folder / "bf16");
  static constexpr float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::int64_t wrong = 0, values = 0;
  for (auto const& [name, t] : before) {
    if (!is_expert(name)) {
      wrong += f32.at(name).bytes == t.bytes && bf16.at(name).bytes == t.bytes ? 0 : 1;
      continue;
    }
    if (!name.ends_with(".weight")) {
      wrong += f32.count(name) + bf16.count(name) > 0 ? 1 : 0;
      continue;
    }
    auto const stem = name.substr(0, name.size() - 7);
    auto const& scales = before.at(stem + ".weight_scale").bytes;
    float const outer = before.at(stem + ".weight_scale_2").as<float>().at(0);
    auto const wide = f32.at(name).as<float>();
    auto const narrow = bf16.at(name).as<std::uint16_t>();
    REQUIRE(wide.size() == 2 * t.bytes.size());
    REQUIRE(narrow.size() == wide.size());
    for (std::size_t i = 0; i < wide.size(); ++i, ++values) {
      unsigned const code = (t.bytes[i / 2] >> (i % 2 * 4)) & 15u;
      unsigned const s = scales[i / 16];
      float const scale =
          std::ldexp(static_cast<float>((s & 7u) + (s >= 8 ? 8u : 0u)), static_cast<int>(s >= 8 ? s >> 3 : 1) - 10);
      float const value = (code & 8u ? -1.0f : 1.0f) * magnitudes[code & 7u] * (scale * outer);
      wrong += wide[i] == value ? 0 : 1;
      wrong += cull::bf16{narrow[i]}.decode() == cull::bf16::encode(value).decode() ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(values == 5 * 64 * 3 * 64 * 128);
  auto const source = read_json(tiny() / "config.json");
  auto expected = source;
  expected.erase("quantization_config");
  CHECK(read_json(folder / "bf16/config.json") == expected);
  CHECK_FALSE(fs::exists(folder / "bf16/hf_quant_config.json"));
  CHECK(fs::exists(folder / "bf16/generation_config.json"));
}

TEST_CASE("convert: fused MXFP4 becomes the transposed plain tensors of the same family, and its values") {
  scratch_folder const folder;
  convert(family("gpt_oss.mxfp4"), expert_storage::f32, folder / "f32");
  auto const plain = all_tensors(family("gpt_oss"));
  auto const ours = all_tensors(folder / "f32");
  CHECK(ours.size() == plain.size());
  for (auto const& [name, t] : plain) {
    REQUIRE(ours.count(name) == 1);
    CHECK(ours.at(name).shape == t.shape);
  }
  auto const source = cull::checkpoint::open(family("gpt_oss.mxfp4"));
  auto const result = cull::checkpoint::open(folder / "f32");
  std::int64_t wrong = 0;
  for (int const layer : source.moe_layers()) {
    auto const a = source.moe_layer(layer);
    auto const b = result.moe_layer(layer);
    for (std::size_t e = 0; e < a.experts.size(); ++e) {
      for (auto const part : {&cull::gated_expert<>::gate, &cull::gated_expert<>::up, &cull::gated_expert<>::down}) {
        auto const values = [](cull::weight_matrix const& m) {
          std::vector<float> out(static_cast<std::size_t>(m.rows() * m.cols()));
          m.visit([&](auto const& k) {
            cull::dequantize(cull::on_cpu{}, k, cull::matrix_view<float>{out.data(), k.rows, k.cols});
          });
          return out;
        };
        wrong += values(a.experts[e].*part) == values(b.experts[e].*part) ? 0 : 1;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("convert: FP8 experts become bf16, their scales go") {
  scratch_folder const folder;
  convert(family("deepseek_v3.fp8_block"), expert_storage::bf16, folder / "out");
  auto const tensors = all_tensors(folder / "out");
  CHECK(tensors.at("model.layers.1.mlp.experts.0.up_proj.weight").dtype == "BF16");
  CHECK(tensors.count("model.layers.1.mlp.experts.0.up_proj.weight_scale_inv") == 0);
}

TEST_CASE("convert: where other modules stay quantised, the config names the experts that no longer are") {
  cull::detail::quantized_parts const parts{.experts = expert_storage::bf16,
                                            .plain_modules = {},
                                            .expert_modules = {"model.layers.1.mlp.experts"},
                                            .others_quantized = true};
  auto const converted = [&](nlohmann::json const& quantization) {
    auto const text = nlohmann::json{{"a", 1}, {"quantization_config", quantization}, {"z", {1, 2}}}.dump(1);
    auto const out = nlohmann::json::parse(cull::detail::converted_config(parts, text, "config.json"));
    CHECK(out.at("a") == 1);
    CHECK(out.at("z") == nlohmann::json{1, 2});
    return out.at("quantization_config");
  };
  using list = std::vector<std::string>;
  CHECK(converted({{"quant_method", "fp8"}}).at("modules_to_not_convert").get<list>() == list{"model.layers.1.mlp.experts"});
  CHECK(converted({{"quant_method", "modelopt"}, {"ignore", {"lm_head"}}}).at("ignore").get<list>() ==
        list{"lm_head", "model.layers.1.mlp.experts*"});
  CHECK(converted({{"quant_method", "compressed-tensors"}, {"ignore", nullptr}}).at("ignore").get<list>() ==
        list{"re:model\\.layers\\.1\\.mlp\\.experts.*"});
  CHECK_THROWS_AS(converted({{"quant_method", "fp8"}, {"modules_to_not_convert", 3}}), cull::error);
}

TEST_CASE("convert: one member of a JSON text changes, every other byte stays") {
  using cull::detail::with_member;
  std::string const text = "{ \"a\" : 1,\n\t\"q\": {\"x\": [1]} , \"b\":2.50}\n";
  CHECK(with_member(text, "q", std::nullopt) == "{ \"a\" : 1,\n\t\"b\":2.50}\n");
  CHECK(with_member(text, "b", std::nullopt) == "{ \"a\" : 1,\n\t\"q\": {\"x\": [1]}}\n");
  CHECK(with_member(text, "a", std::nullopt) == "{ \"q\": {\"x\": [1]} , \"b\":2.50}\n");
  CHECK(with_member(text, "none", std::nullopt) == text);
  CHECK(with_member(text, "q", cull::detail::json(7)) == "{ \"a\" : 1,\n\t\"q\": 7 , \"b\":2.50}\n");
  CHECK(with_member(text, "new", cull::detail::json(7)) == "{ \"a\" : 1,\n\t\"q\": {\"x\": [1]} , \"b\":2.50,\n  \"new\": 7}\n");
  CHECK(with_member("{}", "new", cull::detail::json(7)) == "{\n  \"new\": 7\n}\n");
  CHECK(with_member("{\"q\": 1}", "q", std::nullopt) == "{}");
}

TEST_CASE("convert: freshly quantised models say that only weights are, and which modules are not") {
  scratch_folder const folder;
  convert(family("mixtral"), expert_storage::modelopt_nvfp4, folder / "out");
  auto const config = read_json(folder / "out/config.json").at("quantization_config");
  CHECK(config.at("quant_algo") == "W4A16_NVFP4");
  CHECK_FALSE(config.at("config_groups").at("group_0").contains("input_activations"));
  auto const ignored = config.at("ignore").get<std::vector<std::string>>();
  for (auto const* const name :
       {"lm_head", "model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.1.block_sparse_moe.gate"}) {
    CHECK(std::count(ignored.begin(), ignored.end(), name) == 1);
  }
  CHECK(read_json(folder / "out/hf_quant_config.json").at("quantization").at("exclude_modules").get<std::vector<std::string>>() ==
        ignored);
  auto before = read_json(family("mixtral") / "config.json");
  before["quantization_config"] = config;
  CHECK(read_json(folder / "out/config.json") == before);
}

TEST_CASE("convert: what is interrupted goes on to the same bytes; the result can be pruned and verified") {
  scratch_folder const folder;
  auto const model = cull::checkpoint::open(family("qwen3_moe"));
  cull::conversion const wanted{.to = expert_storage::modelopt_nvfp4};
  cull::convert(cull::on_cpu{1}, model, wanted, folder / "whole");
  int asked = 0;
  cull::apply_options stopping;
  stopping.cancelled = [&] { return ++asked > 200; };
  CHECK_THROWS_AS(cull::convert(cull::on_cpu{2}, model, wanted, folder / "parts", stopping), cull::error);
  CHECK_FALSE(fs::exists(folder / "parts"));
  auto const report = cull::convert(cull::on_cpu{2}, model, wanted, folder / "parts");
  CHECK(report.resumed > 0);
  CHECK(contents(folder / "parts") == contents(folder / "whole"));

  auto const converted = cull::checkpoint::open(folder / "whole");
  cull::pruning_plan plan;
  for (int const layer : converted.moe_layers()) plan.layers[layer] = {0, 2, 3, 5, 8, 9, 11, 15};
  cull::apply(converted, plan, folder / "pruned");
  CHECK(cull::find_differences(converted, plan, folder / "pruned").failures.empty());
}

TEST_CASE("convert: the verifier accepts every conversion and sees a changed byte of any kind") {
  struct example {
    std::string from;
    expert_storage to;
  };
  for (auto const& e :
       {example{"qwen3_moe", expert_storage::modelopt_nvfp4},
        example{"qwen3_moe.fused", expert_storage::compressed_tensors_nvfp4},
        example{"qwen3_moe.modelopt_nvfp4", expert_storage::compressed_tensors_nvfp4},
        example{"qwen3_moe.compressed_tensors_nvfp4", expert_storage::bf16}, example{"gpt_oss.mxfp4", expert_storage::bf16},
        example{"deepseek_v3.fp8_block", expert_storage::f32}, example{"olmoe", expert_storage::f32}}) {
    auto const& from = e.from;
    CAPTURE(from);
    scratch_folder const folder;
    auto const source = cull::checkpoint::open(family(e.from));
    cull::convert(cull::on_cpu{}, source, {.to = e.to}, folder / "out");
    auto const report = cull::find_conversion_differences(source, e.to, folder / "out");
    CHECK(report.failures.empty());
    CHECK(report.expert_tensors == static_cast<std::int64_t>(source.moe_layers().size()) * source.experts() * 3);

    // One bit in the middle of every tensor of an expert, and of the output head.
    std::int64_t unseen = 0, changed = 0;
    constexpr int most = test_support::repeated(1000, 3);
    auto const written = cull::checkpoint::open(folder / "out");
    for (auto const& t : written.tensors()) {
      bool const first_expert =
          t.name.find(".experts.0.") != std::string::npos || t.name.find(".experts.gate_up_proj") != std::string::npos;
      if (changed == most) break;
      if (t.name != "lm_head.weight" && !(first_expert && !is_input_scale(t.name) && !t.name.ends_with("bias"))) continue;
      auto const file = written.shards()[static_cast<std::size_t>(t.shard)].path();
      auto text = slurp(file);
      auto const at = t.begin + t.bytes() / 2;
      text[at] = static_cast<char>(text[at] ^ 1);
      spill(file, text);
      auto const failures = cull::find_conversion_differences(source, e.to, folder / "out").failures;
      ++changed;
      unseen += failures.size() >= 2 ? 0 : 1;  // the tensor, and the manifest
      text[at] = static_cast<char>(text[at] ^ 1);
      spill(file, text);
    }
    CHECK(changed > 1);
    CHECK(unseen == 0);
  }
}

TEST_CASE("convert: layers with different numbers of experts") {
  scratch_folder const folder;
  auto const model = cull::checkpoint::open(family("hunyuan_v1_moe"));
  cull::pruning_plan plan;
  int count = model.router().top_k;
  for (int const layer : model.moe_layers()) {
    for (int e = 0; e < count; ++e) plan.layers[layer].push_back(e);
    ++count;
  }
  REQUIRE(plan.layers.size() > 1);
  cull::apply(model, plan, folder / "uneven");
  auto const uneven = cull::checkpoint::open(folder / "uneven");
  cull::conversion const wanted{.to = expert_storage::modelopt_nvfp4};
  cull::convert(cull::on_cpu{1}, uneven, wanted, folder / "out");
  CHECK(cull::find_conversion_differences(uneven, wanted.to, folder / "out").failures.empty());
  CHECK(cull::checkpoint::open(folder / "out").expert_counts() == uneven.expert_counts());

  // Experts are converted one by one: the same bytes as from the whole model.
  cull::convert(cull::on_cpu{1}, model, wanted, folder / "all");
  auto const all = all_tensors(folder / "all");
  for (auto const& written : all_tensors(folder / "out")) {
    if (mentions(written.first, ".experts.")) CHECK_MESSAGE(written.second.bytes == all.at(written.first).bytes, written.first);
  }
}

TEST_CASE("convert: what is stored so already, and experts without a place in the target, are refused") {
  scratch_folder const folder;
  CHECK_THROWS_WITH_AS(convert(tiny(), expert_storage::modelopt_nvfp4, folder / "a"), doctest::Contains("already"), cull::error);
  CHECK_THROWS_WITH_AS(convert(family("mixtral"), expert_storage::bf16, folder / "b"), doctest::Contains("already"), cull::error);
  CHECK_THROWS_WITH_AS(convert(family("gpt_oss"), expert_storage::modelopt_nvfp4, folder / "c"), doctest::Contains("no names"),
                       cull::error);
  for (auto const* const name : {"a", "b", "c"}) CHECK_FALSE(fs::exists(folder / name));
}
