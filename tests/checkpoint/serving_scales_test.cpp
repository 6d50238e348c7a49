// SPDX-License-Identifier: Apache-2.0
// What serving engines demand, of tensors and scales: each row from a good checkpoint, and from one that is broken in that
// respect and no other.
#include <cmath>

#include "serving_cases.hpp"

namespace serving_test {

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
                   {tensor, note, "is BF16, not F32",
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

TEST_CASE("serving: scales are what stands beside weights in a format that has them") {
  std::string const block = "block scales", tensor = "tensor scales are finite", shape = "row by row", width = "width splits";
  auto const bf16 = [](std::vector<std::int64_t> shape, std::uint16_t bits) {
    std::int64_t count = 1;
    for (auto const n : shape) count *= n;
    test_support::tensor out{"BF16", std::move(shape), {}};
    for (std::int64_t i = 0; i < count; ++i) {
      out.bytes.push_back(static_cast<unsigned char>(bits & 0xff));
      out.bytes.push_back(static_cast<unsigned char>(bits >> 8));
    }
    return out;
  };
  constexpr std::uint16_t zero = 0, minus_one = 0xbf80, nan = 0x7fc0, one = 0x3f80;
  std::string const attention = "model.layers.1.self_attn.q_a_proj";
  auto const pack = [&](served& m, std::uint16_t scales) {
    m.tensors.erase(attention + ".weight");
    m.tensors[attention + ".weight_packed"] = {"I32", {4, 4}, std::vector<unsigned char>(64, 0x38)};
    m.tensors[attention + ".weight_scale"] = bf16({4, 1}, scales);
  };
  check_cases(served{model_dir()},
              {// Learned, and no scale of weights.
               {block, good, "all are", [&](auto& m) { m.tensors["audio_tower.layers.0.per_dim_scale"] = bf16({4}, zero); }},
               {block, good, "all are", [&](auto& m) { m.tensors["audio_tower.layers.0.per_dim_scale"] = bf16({4}, minus_one); }},
               {block, good, "all are", [&](auto& m) { m.tensors[attention + ".weight_scale"] = bf16({4}, minus_one); }},
               // Packed integers may have any that is finite.
               {block, good, "all are", [&](auto& m) { pack(m, minus_one); }},
               {block, bad, attention + ".weight_scale holds NaN", [&](auto& m) { pack(m, nan); }},
               // Of any module in NVFP4.
               {block, bad, attention + ".weight_scale holds a scale with a sign",
                [&](auto& m) {
                  m.tensors[attention + ".weight_scale"] = {"F8_E4M3", {4, 1}, {0x38, 0x38, 0xb8, 0x38}};
                  m.tensors[attention + ".weight"] = {"U8", {4, 8}, std::vector<unsigned char>(32)};
                }},
               // An input scale of FP8 in the model's type has the value that it has.
               {tensor, note, attention + ".input_scale is BF16, not F32",
                [&](auto& m) {
                  m.tensors[attention + ".weight"] = {"F8_E4M3", {4, 8}, std::vector<unsigned char>(32)};
                  m.tensors[attention + ".weight_scale"] = m.tensors[attention + ".input_scale"] = bf16({1}, one);
                }},
               {tensor, bad, attention + ".input_scale holds 0",
                [&](auto& m) { m.tensors[attention + ".input_scale"] = bf16({1}, zero); }}});

  // Llama 4's experts lie [experts, in, out], and so do their scales.
  served llama{fs::path{CULL_TEST_DATA} / "families/llama4/model"};
  std::vector<std::string> weights;
  for (auto const& [name, t] : llama.tensors) {
    if (name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj")) weights.push_back(name);
  }
  REQUIRE_FALSE(weights.empty());
  for (auto const& name : weights) {
    auto const dims = llama.at(name).shape;
    auto const bytes = [](std::string const& type, std::vector<std::int64_t> shape) {
      std::int64_t count = 1;
      for (auto const n : shape) count *= n;
      return test_support::tensor{type, std::move(shape), std::vector<unsigned char>(static_cast<std::size_t>(count), 0x38)};
    };
    llama.tensors[name] = bytes("U8", {dims[0], dims[1] / 2, dims[2]});
    llama.tensors[name + "_weight_scale"] = bytes("F8_E4M3", {dims[0], dims[1] / 16, dims[2]});
    for (auto const* const suffix : {"_weight_scale_2", "_input_scale"})
      llama.tensors[name + suffix] = {"F32", {}, {0, 0, 128, 63}};
  }
  llama.config["quantization_config"] = {{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}, {"ignore", json::array()}};
  auto const checks = llama.checks();
  CHECK(row(checks, shape).found == "all are");
  CHECK(mentions(row(checks, "width splits over").found, "width 32:"));
  for (auto const& c : checks) {
    CAPTURE(c.demand);
    CAPTURE(c.found);
    CHECK(c.verdict != bad);
  }
  std::swap(llama.at(weights[0] + "_weight_scale").shape[1], llama.at(weights[0] + "_weight_scale").shape[2]);
  CHECK(row(llama.checks(), shape).verdict == bad);
}

TEST_CASE("serving: scales that are not looked at are no good ones") {
  auto const checks = cull::serving_checks(model(), cull::block_scales::skip);
  CHECK(row(checks, "block scales").verdict == note);
  CHECK(row(checks, "block scales").found == "not looked at");
  CHECK(row(cull::serving_checks(model()), "block scales").verdict == good);
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

}  // namespace serving_test
