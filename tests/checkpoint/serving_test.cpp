// SPDX-License-Identifier: Apache-2.0
// What serving engines demand: each row from a good checkpoint, and from one that is broken in that respect and no other.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <set>

#include <support/sanitized.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;
using json = nlohmann::json;
using cull::serving_verdict;

/// A checkpoint in parts that a test may change.
struct served {
  std::map<std::string, test_support::tensor> tensors;
  json config;
  std::optional<json> quant;

  explicit served(fs::path const& dir) : tensors(all_tensors(dir)), config(read_json(dir / "config.json")) {
    if (fs::exists(dir / "hf_quant_config.json")) quant = read_json(dir / "hf_quant_config.json");
  }
  std::vector<cull::serving_check> checks() const {
    scratch_folder const folder;
    std::vector<cull::tensor_source> sources;
    for (auto const& [name, t] : tensors)
      sources.push_back(
          {name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
    cull::write_safetensors(folder / "model.safetensors", {{"format", "pt"}}, sources);
    spill(folder / "config.json", config.dump());
    if (quant) spill(folder / "hf_quant_config.json", quant->dump());
    auto out = cull::serving_checks(cull::checkpoint::open(folder.path()));
    for (auto const& c : out) {
      CAPTURE(c.demand);
      CHECK_FALSE((c.found.empty() || c.vllm.empty() || c.sglang.empty() || c.tensorrt_llm.empty()));
    }
    return out;
  }

  test_support::tensor& at(std::string const& name) { return tensors.at(name); }
  std::size_t erase(std::string const& part) {
    return std::erase_if(tensors, [&](auto const& each) { return mentions(each.first, part); });
  }
  void set(std::string const& name, float value) { std::memcpy(at(name).bytes.data(), &value, sizeof value); }
  void set_all(std::string const& part, float value) {
    for (auto& [name, t] : tensors) {
      if (mentions(name, part)) std::memcpy(t.bytes.data(), &value, sizeof value);
    }
  }
  /// The weights of an expert's matrix as they were before they were quantised.
  void make_plain(std::string const& stem) {
    auto& weight = at(stem + ".weight");
    weight.dtype = "BF16";
    weight.shape.back() *= 2;
    weight.bytes.assign(static_cast<std::size_t>(weight.shape[0] * weight.shape[1] * 2), 0x3f);
    for (auto const* const suffix : {".weight_scale", ".weight_scale_2", ".input_scale"}) tensors.erase(stem + suffix);
  }
  void exclude(std::string const& entry) {
    config["quantization_config"]["ignore"].push_back(entry);
    if (quant) (*quant)["quantization"]["exclude_modules"].push_back(entry);
  }
};

cull::serving_check row(std::vector<cull::serving_check> const& checks, std::string const& demand) {
  for (auto const& c : checks) {
    if (mentions(c.demand, demand)) return c;
  }
  return {.demand = "no such row: " + demand, .verdict = serving_verdict::good, .found = "no such row"};
}

struct serving_case {
  std::string demand;
  serving_verdict verdict;
  std::string found;
  std::function<void(served&)> change;
  std::set<std::string> also = {};  ///< rows that change with it
};

/// Each case alone, in a model whose rows are as `from` has them.
void check_cases(served const& from, std::vector<serving_case> const& cases) {
  auto const before = from.checks();
  // Under sanitizers, where each takes ten times as long, some.
  for (std::size_t i = 0; i < cases.size(); i += static_cast<std::size_t>(test_support::repeated(1, 5))) {
    auto const& each = cases[i];
    CAPTURE(each.demand);
    CAPTURE(each.found);
    auto changed = from;
    each.change(changed);
    auto const after = changed.checks();
    auto const found = row(after, each.demand);
    CAPTURE(found.found);
    CHECK(found.verdict == each.verdict);
    CHECK(mentions(found.found, each.found));
    for (auto const& c : after) {
      bool const meant =
          mentions(c.demand, each.demand) ||
          std::any_of(each.also.begin(), each.also.end(), [&](auto const& part) { return mentions(c.demand, part); });
      CAPTURE(c.demand);
      if (!meant) CHECK(c.verdict == row(before, c.demand).verdict);
    }
  }
}

constexpr auto good = serving_verdict::good, note = serving_verdict::note, bad = serving_verdict::bad;
constexpr float infinity = std::numeric_limits<float>::infinity();

std::string expert(int layer, int number) {
  return "model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(number) + ".";
}

}  // namespace

TEST_CASE("serving: the shipped model meets every demand") {
  auto const checks = served{model_dir()}.checks();
  CHECK(checks.size() == 18);
  for (auto const& c : checks) {
    CAPTURE(c.demand);
    CAPTURE(c.found);
    CHECK(c.verdict == good);
  }
  CHECK(row(checks, "split evenly").found == "over 2, 4, 8, 16 ranks");
  CHECK(row(checks, "multiples of 16").found == "on 1, 2, 4 rank(s)");
  CHECK(mentions(row(checks, "width").found, "width 64: whole groups on 1, 2, 4 rank(s), multiples of 64 on 1"));
}

TEST_CASE("serving: numbers of experts") {
  served const it{model_dir()};
  std::string const layers = "one number of experts", mtp = "MTP layers", choice = "router's choice", kernels = "kernels take",
                    bias = "correction bias", complete = "all its tensors";
  auto const copy_expert = [](served& m, int to) {
    m.tensors[expert(2, to) + "up_proj.weight"] = m.at(expert(2, 0) + "up_proj.weight");
  };
  check_cases(it,
              {{layers, bad, "layer 2 has 65", [&](auto& m) { copy_expert(m, 64); }, {complete}},
               {layers, bad, "layer 3 has 63", [](auto& m) { CHECK(m.erase(expert(3, 63)) == 12); }, {complete}},
               {layers,
                bad,
                "layer 2 has 64",
                [&](auto& m) {
                  copy_expert(m, 64);
                  m.erase(expert(2, 5));
                },
                {complete}},
               {mtp, note, "1 MTP layer(s), config.json says 2", [](auto& m) { m.config["num_nextn_predict_layers"] = 2; }},
               {mtp, note, "0 MTP layer(s), config.json says 1", [](auto& m) { m.erase("model.layers.5."); }},
               {choice, good, "top 63 of 64 in 1 group(s), of which 1", [](auto& m) { m.config["num_experts_per_tok"] = 63; }},
               {choice, note, "top 64 of 64", [](auto& m) { m.config["num_experts_per_tok"] = 64; }, {kernels}},
               {choice, good, "top 8 of 64 in 4 group(s), of which 1", [](auto& m) { m.config["n_group"] = 4; }},
               {choice, note, "top 16 of 64 in 4 group(s), of which 1",
                [](auto& m) {
                  m.config["n_group"] = 4;
                  m.config["num_experts_per_tok"] = 16;
                }},
               {choice, bad, "top 17 of 64 in 4 group(s), of which 1",
                [](auto& m) {
                  m.config["n_group"] = 4;
                  m.config["num_experts_per_tok"] = 17;
                }},
               {choice, bad, "top 1 of 64 in 64 group(s), of which 64",
                [](auto& m) {
                  m.config["n_group"] = m.config["topk_group"] = 64;
                  m.config["num_experts_per_tok"] = 1;
                }},
               {bias, note, "is BF16",
                [](auto& m) {
                  auto& t = m.at("model.layers.4.mlp.gate.e_score_correction_bias");
                  t.dtype = "BF16";
                  t.bytes.resize(t.bytes.size() / 2);
                }},
               {bias, bad, "model.layers.4.mlp.gate.e_score_correction_bias is missing",
                [](auto& m) { m.tensors.erase("model.layers.4.mlp.gate.e_score_correction_bias"); }}});

  // As pruning leaves them: 42 in each layer, and other numbers in each.
  scratch_folder const folder;
  cull::apply(model(), oracle_plan(), folder / "out");
  auto const pruned = cull::serving_checks(cull::checkpoint::open(folder / "out"));
  CHECK(row(pruned, kernels).verdict == note);  // no multiple of 4
  CHECK(row(pruned, "split evenly").verdict == note);
  CHECK(row(pruned, "split evenly").found == "over 2, 3, 6, 7, 14 ranks");
  CHECK(row(pruned, "multiples of 16").verdict == note);
  CHECK(row(pruned, "multiples of 16").found == "42 on no number of ranks");
  CHECK(row(pruned, layers).verdict == good);

  auto const family = cull::read_family(cull::detail::completed(json{{"like", "glm_moe_dsa"},
                                                                     {"model_type", {"glm_moe_dsa"}},
                                                                     {"keys",
                                                                      {{"layers", {"num_hidden_layers"}},
                                                                       {"mtp", "num_nextn_predict_layers"},
                                                                       {"experts", {"n_routed_experts", "num_experts"}},
                                                                       {"experts_per_layer", "num_routed_experts_per_layer"}}}},
                                                                "family"),
                                        "family");
  auto const source = cull::checkpoint::open(model_dir(), {.family = family});
  auto uneven = oracle_plan();
  uneven.layers[3].pop_back();
  uneven.layers[5].pop_back();
  cull::apply(source, uneven, folder / "uneven");
  auto const found = cull::serving_checks(cull::checkpoint::open(folder / "uneven", {.family = family}));
  CHECK(row(found, layers).verdict == bad);
  CHECK(row(found, layers).found == "41 to 42 in config.json; layer 2 has 42, layer 3 has 41");
  CHECK(row(found, mtp).verdict == bad);
  CHECK(row(found, mtp).found == "layer 5 has 41, layer 1 has 42");
  CHECK(row(found, complete).verdict == good);
}

TEST_CASE("serving: tensors and scales of experts") {
  served const it{model_dir()};
  std::string const complete = "all its tensors", schemes = "stored in one way", tensor = "tensor scales are finite",
                    block = "block scales", weights = "share a tensor scale", inputs = "share an input scale",
                    lists = "are on a list", shape = "row by row", width = "width splits";
  std::string const some = expert(2, 7);
  auto const scalar = [&](std::string const& found, float value, std::string const& part,
                          std::set<std::string> const& also = {}) {
    return serving_case{tensor, bad, some + part + " " + found, [=](auto& m) { m.set(some + part, value); }, also};
  };
  auto const byte = [&](std::string const& found, unsigned char value, serving_verdict verdict = bad) {
    return serving_case{block, verdict, found, [=](auto& m) { m.at(some + "up_proj.weight_scale").bytes[3] = value; }};
  };
  check_cases(it, {{complete, bad, some + "down_proj.input_scale is missing",
                    [&](auto& m) { m.tensors.erase(some + "down_proj.input_scale"); }},
                   {complete, bad, "model.layers.2.mlp.experts.0.gate_proj.weight_scale_2 is missing and 191 more",
                    [](auto& m) {
                      for (auto const* const part : {"gate", "up", "down"}) {
                        for (int e = 0; e < 64; ++e) m.tensors.erase(expert(2, e) + part + "_proj.weight_scale_2");
                      }
                    }},
                   {complete, bad, ".input_scale is missing and 959 more", [](auto& m) { m.erase(".input_scale"); }},
                   {complete, bad, ".weight_scale is missing and 63 more",
                    [](auto& m) {
                      for (int e = 0; e < 64; ++e) m.tensors.erase(expert(4, e) + "up_proj.weight_scale");
                    }},
                   {complete, bad, some + "up_proj.weight is missing", [&](auto& m) { m.erase(some + "up_proj."); }},
                   {complete, good, "nothing is missing",
                    [](auto& m) {
                      m.erase(".input_scale");
                      m.config["quantization_config"]["quant_algo"] = (*m.quant)["quantization"]["quant_algo"] = "w4a16_nvfp4";
                    }},
                   {schemes, bad, "layer 2: NVFP4 (modelopt), not quantised", [&](auto& m) { m.make_plain(some + "down_proj"); }},
                   {schemes, good, "NVFP4 (modelopt), not quantised",
                    [&](auto& m) {
                      for (int e = 0; e < 64; ++e) {
                        for (auto const* const part : {"gate_proj", "up_proj", "down_proj"}) m.make_plain(expert(5, e) + part);
                      }
                      m.exclude("model.layers.5.mlp.experts*");
                    }},
                   scalar("holds 0", 0, "down_proj.input_scale"),
                   scalar("holds a negative number", -1e-3f, "down_proj.weight_scale_2"),
                   scalar("holds a negative number", -0.f, "down_proj.weight_scale_2"),
                   scalar("holds infinity", infinity, "down_proj.input_scale"),
                   scalar("holds NaN", std::nanf(""), "up_proj.weight_scale_2", {weights}),
                   {tensor, bad, "is BF16, not F32",
                    [&](auto& m) {
                      auto& t = m.at(some + "down_proj.weight_scale_2");
                      t.dtype = "BF16";
                      t.bytes.resize(2);
                    }},
                   byte("holds NaN", 0x7f),
                   byte("holds NaN", 0xff),
                   byte("holds a scale with a sign", 0x81),
                   byte("holds a scale with a sign", 0x80),
                   byte("all are", 0, good),
                   byte("all are", 0x7e, good),
                   {weights, note, "layer 2: 1 experts have different tensor scales",
                    [&](auto& m) { m.set(some + "up_proj.weight_scale_2", 0.5f); }},
                   {inputs, note, "layer 2: 64 experts have different input scales",
                    [](auto& m) {
                      for (int e = 0; e < 64; ++e) m.set(expert(2, e) + "gate_proj.input_scale", 0.25f);
                    }},
                   {shape, bad, "F8_E4M3 [64, 8] is wanted",
                    [&](auto& m) {
                      m.at(some + "up_proj.weight_scale").shape = {32, 16};
                    }},
                   {shape, bad, "is F8_E4M3 [64, 4], F8_E4M3 [64, 8] is wanted",
                    [&](auto& m) {
                      auto& t = m.at(some + "up_proj.weight_scale");
                      t.shape = {64, 4};
                      t.bytes.resize(256);
                    }},
                   {shape, bad, "is U8 [64, 8]", [&](auto& m) { m.at(some + "up_proj.weight_scale").dtype = "U8"; }},
                   {width, bad, "width 24, 64: whole groups on no number of rank(s)", [&](auto& m) {
                      for (std::string const part : {"gate_proj", "up_proj"}) {
                        for (std::string const suffix : {".weight", ".weight_scale"}) {
                          auto& t = m.at(some + part + suffix);
                          t.shape[0] = 24;
                          t.bytes.resize(24 * static_cast<std::size_t>(t.shape[1]));
                        }
                      }
                    }}});
  CHECK(it.tensors.at(some + "up_proj.weight").shape == std::vector<std::int64_t>{64, 64});

  // Matrices that are no experts' and are loaded as one.
  auto dense = it;
  for (std::string const part : {"q_proj", "k_proj", "v_proj"})
    dense.tensors["model.layers.0.self_attn." + part + ".weight_scale_2"] = it.tensors.at(some + "up_proj.weight_scale_2");
  CHECK(row(dense.checks(), "loaded as one").verdict == good);
  dense.set("model.layers.0.self_attn.k_proj.weight_scale_2", 0.5f);
  CHECK(row(dense.checks(), "loaded as one").verdict == note);
  CHECK(
      mentions(row(dense.checks(), "loaded as one").found, "model.layers.0.self_attn.qkv_proj would be made of 2 tensor scales"));
}

TEST_CASE("serving: scales of other formats, and of experts that share tensors") {
  auto const family = [](std::string const& name) { return served{fs::path{CULL_TEST_DATA} / "families" / name / "model"}; };
  auto const blocks = family("deepseek_v3.fp8_block");
  std::string scale;
  for (auto const& [name, t] : blocks.tensors) {
    if (mentions(name, ".experts.3.up_proj.weight_scale_inv")) scale = name;
  }
  std::string const block = "block scales", complete = "all its tensors", tensor = "tensor scales are finite";
  check_cases(blocks, {{block, bad, scale + " holds 0", [&](auto& m) { m.set(scale, 0); }},
                       {block, bad, scale + " holds a negative number", [&](auto& m) { m.set(scale, -1); }},
                       {block, bad, scale + " holds infinity", [&](auto& m) { m.set(scale, infinity); }},
                       {complete, bad, "is missing", [&](auto& m) { m.tensors.erase(scale); }}});

  auto const mxfp4 = family("gpt_oss.mxfp4");
  std::string const fused = "model.layers.1.mlp.experts.down_proj";
  check_cases(mxfp4, {{block, bad, fused + "_scales holds NaN", [&](auto& m) { m.at(fused + "_scales").bytes[7] = 0xff; }},
                      {complete, bad, fused + "_scales is missing", [&](auto& m) { m.tensors.erase(fused + "_scales"); }},
                      {complete, bad, fused + ".weight is missing", [&](auto& m) { m.erase(fused); }}});

  // One tensor for all experts, with a scale of each.
  auto shared = family("qwen3_moe.fused");
  auto const weight = std::find_if(shared.tensors.begin(), shared.tensors.end(), [](auto const& each) {
                        return each.first.ends_with("mlp.experts.gate_up_proj");
                      })->first;
  auto& t = shared.at(weight);
  auto const experts = t.shape[0], rows = t.shape[1], cols = t.shape[2];
  t = {"U8", {experts, rows, cols / 2}, std::vector<unsigned char>(static_cast<std::size_t>(experts * rows * cols / 2))};
  shared.tensors[weight + "_weight_scale"] = {
      "F8_E4M3",
      {experts, rows, cols / 16},
      std::vector<unsigned char>(static_cast<std::size_t>(experts * rows * cols / 16), 0x38)};
  std::vector<float> const ones(static_cast<std::size_t>(2 * experts), 1);
  auto const floats = [&](std::vector<std::int64_t> shape) {
    std::int64_t count = 1;
    for (auto const n : shape) count *= n;
    auto const* const from = reinterpret_cast<unsigned char const*>(ones.data());
    return test_support::tensor{"F32", std::move(shape), {from, from + 4 * count}};
  };
  shared.tensors[weight + "_weight_scale_2"] = floats({experts, 2});
  CHECK(row(shared.checks(), complete).found == weight + "_input_scale is missing");
  shared.tensors[weight + "_input_scale"] = floats({experts});
  check_cases(shared,
              {{complete, good, "nothing is missing", [](auto&) {}},
               {complete,
                bad,
                weight + "_weight_scale_2 is missing",
                [&](auto& m) { m.tensors.erase(weight + "_weight_scale_2"); },
                {"stored in one way"}},
               {tensor, bad, weight + "_input_scale holds 0",
                [&](auto& m) { std::fill_n(m.at(weight + "_input_scale").bytes.end() - 4, 4, static_cast<unsigned char>(0)); }},
               {"share a tensor scale", note, "1 experts have different tensor scales",
                [&](auto& m) { m.at(weight + "_weight_scale_2").bytes[6] ^= 1; }}});
}

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

TEST_CASE("serving: the widest input scale, with both values") {
  cull::pruning_plan plan;
  for (int const layer : model().moe_layers()) {
    for (int e = 32; e < 64; ++e) plan.layers[layer].push_back(e);
  }
  auto const lost = cull::lost_input_scales(model(), cull::keep_sets(model(), plan));
  REQUIRE_FALSE(lost.empty());
  auto const worst = *std::max_element(lost.begin(), lost.end(), [](auto const& a, auto const& b) {
    return std::max(a.before / a.after, a.after / a.before) < std::max(b.before / b.after, b.after / b.before);
  });
  auto const kept = cull::input_scale_check(model(), plan);
  CHECK(kept.verdict == note);
  char values[64];
  std::snprintf(values, sizeof values, "%s: %.6g -> %.6g", worst.tensor.c_str(), static_cast<double>(worst.before),
                static_cast<double>(worst.after));
  CHECK(mentions(kept.found, std::to_string(lost.size()) + " went with a dropped expert, most in layer " +
                                 std::to_string(worst.layer) + " " + values));
  CHECK(mentions(kept.vllm, "--input-scale max"));
  plan.input_scales = cull::input_scales::max;
  CHECK(cull::input_scale_check(model(), plan).verdict == good);
  CHECK(mentions(cull::input_scale_check(model(), plan).found, "every expert was given"));
  plan.layers.clear();
  for (int const layer : model().moe_layers()) {
    for (int e = 0; e < 64; ++e) plan.layers[layer].push_back(e);
  }
  CHECK(cull::input_scale_check(model(), plan).found == "all are left");
}
