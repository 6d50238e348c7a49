// SPDX-License-Identifier: Apache-2.0
// Layouts that no shipped fixture has, as headers and configs of real releases have them: nested configs, MTP layers under names
// of their own or in a file of their own, fused tensors apart, zero-compute experts, lists of counts, two formats in one model.
#include <doctest/doctest.h>

#include <algorithm>
#include <cull/checkpoint.hpp>

#include "expert/matrices.hpp"
#include "scratch.hpp"

namespace {

using namespace checkpoint_test;
using json = nlohmann::json;

/// A model directory of random bf16 tensors.
class synthetic_model {
 public:
  explicit synthetic_model(fs::path dir) : dir_(std::move(dir)) { fs::create_directories(dir_); }

  void add(std::string const& name, std::vector<std::uint64_t> shape, cull::dtype type = cull::dtype::bf16) {
    std::uint64_t size = static_cast<std::uint64_t>(cull::bits(type)) / 8;
    for (auto const n : shape) size *= n;
    auto& bytes = bytes_.emplace_back(static_cast<std::size_t>(size));
    for (auto& b : bytes) b = static_cast<std::byte>(random_.bits() & 0x3fu);
    tensors_.push_back({name, type, std::move(shape), bytes});
  }
  /// gate, up and down of one expert.
  void add_expert(std::string const& prefix, std::vector<std::string> const& parts = {"gate_proj", "up_proj", "down_proj"}) {
    for (auto const& part : parts) {
      bool const down = part == parts.back();
      add(prefix + part + ".weight", down ? std::vector<std::uint64_t>{16, 8} : std::vector<std::uint64_t>{8, 16});
    }
  }
  void add_experts(std::string const& prefix, int experts) {
    for (int e = 0; e < experts; ++e) add_expert(prefix + std::to_string(e) + ".");
  }
  void write(std::string const& file = "model.safetensors") {
    cull::write_safetensors(dir_ / file, {{"format", "pt"}}, tensors_);
    tensors_.clear();
  }
  void config(json const& root) { spill(dir_ / "config.json", root.dump(2)); }

  fs::path const& dir() const { return dir_; }

 private:
  fs::path dir_;
  expert_test::source random_{3};
  std::vector<std::vector<std::byte>> bytes_;
  std::vector<cull::tensor_source> tensors_;
};

/// Keeps the same experts in every layer, writes, verifies; what came out.
struct pruned {
  pruned(fs::path const& from, fs::path const& to, std::vector<int> const& keep) : model(cull::checkpoint::open(from)) {
    cull::pruning_plan plan;
    for (int const layer : model.moe_layers()) plan.layers[layer] = keep;
    cull::apply(model, plan, to);
    CHECK(cull::find_differences(model, plan, to).failures.empty());
    tensors = all_tensors(to);
    before = all_tensors(from);
    config = json::parse(slurp(to / "config.json"));
    CHECK(cull::checkpoint::open(to).experts() == static_cast<int>(keep.size()));
  }
  /// The tensor `now` has the bytes that `then` had.
  void moved(std::string const& then, std::string const& now) const {
    CAPTURE(now);
    REQUIRE(tensors.count(now) == 1);
    CHECK(tensors.at(now).bytes == before.at(then).bytes);
  }
  std::vector<std::int64_t> shape(std::string const& name) const {
    CAPTURE(name);
    REQUIRE(tensors.count(name) == 1);
    return tensors.at(name).shape;
  }

  cull::checkpoint model;
  std::map<std::string, test_support::tensor> tensors, before;
  json config;
};

using shape = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("synthetic: Kimi-K2.5, nested under text_config and language_model") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "kimi_k25"},
              {"text_config",
               {{"model_type", "kimi_k2"},
                {"num_hidden_layers", 2},
                {"first_k_dense_replace", 1},
                {"n_routed_experts", 6},
                {"num_experts_per_tok", 2},
                {"n_group", 1},
                {"topk_group", 1},
                {"topk_method", "noaux_tc"},
                {"scoring_func", "sigmoid"},
                {"norm_topk_prob", true},
                {"routed_scaling_factor", 2.827},
                {"hidden_size", 16}}},
              {"vision_config", {{"num_hidden_layers", 6}}}};
  made.config(config);
  auto const prefix = std::string{"language_model.model.layers.1.mlp."};
  made.add("vision_tower.blocks.0.wqkv.weight", {6, 6});
  made.add("language_model.model.layers.0.mlp.gate_proj.weight", {6, 16});
  made.add(prefix + "gate.weight", {6, 16});
  made.add(prefix + "gate.e_score_correction_bias", {6}, cull::dtype::f32);
  made.add_expert(prefix + "shared_experts.");
  made.add_experts(prefix + "experts.", 6);
  made.write();
  pruned const out{made.dir(), folder / "out", {1, 4, 5}};
  CHECK(out.model.moe_layers() == std::vector<int>{1});
  CHECK(static_cast<double>(out.model.router().scaling) == doctest::Approx(2.827));
  CHECK(out.shape(prefix + "gate.weight") == shape{3, 16});
  CHECK(out.shape(prefix + "gate.e_score_correction_bias") == shape{3});
  out.moved(prefix + "experts.4.up_proj.weight", prefix + "experts.1.up_proj.weight");
  out.moved(prefix + "shared_experts.up_proj.weight", prefix + "shared_experts.up_proj.weight");
  out.moved("vision_tower.blocks.0.wqkv.weight", "vision_tower.blocks.0.wqkv.weight");
  config["text_config"]["n_routed_experts"] = 3;
  CHECK(out.config == config);
}

TEST_CASE("synthetic: Qwen3-VL-MoE, fused and transposed under model.language_model") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "qwen3_vl_moe"},
              {"text_config",
               {{"model_type", "qwen3_vl_moe_text"},
                {"num_hidden_layers", 1},
                {"num_experts", 4},
                {"num_experts_per_tok", 2},
                {"norm_topk_prob", true},
                {"hidden_size", 16},
                {"moe_intermediate_size", 8}}},
              {"vision_config", {{"depth", 4}}}};
  made.config(config);
  std::string const prefix = "model.language_model.layers.0.mlp.";
  made.add(prefix + "gate.weight", {4, 16});
  made.add(prefix + "experts.gate_up_proj", {4, 16, 16});
  made.add(prefix + "experts.down_proj", {4, 8, 16});
  made.add("model.visual.blocks.0.attn.qkv.weight", {4, 4});
  made.write();
  pruned const out{made.dir(), folder / "out", {0, 3}};
  CHECK(out.shape(prefix + "gate.weight") == shape{2, 16});
  CHECK(out.shape(prefix + "experts.gate_up_proj") == shape{2, 16, 16});
  CHECK(out.shape(prefix + "experts.down_proj") == shape{2, 8, 16});
  auto const& all = out.before.at(prefix + "experts.down_proj").bytes;
  auto const& kept = out.tensors.at(prefix + "experts.down_proj").bytes;
  CHECK(std::equal(kept.begin() + 256, kept.end(), all.begin() + 3 * 256));
  auto const layer = out.model.moe_layer(0);
  CHECK(layer.experts[0].gate.rows() == 8);
  CHECK(layer.experts[0].gate.cols() == 16);
  CHECK(layer.experts[0].down.rows() == 16);
  config["text_config"]["num_experts"] = 2;
  CHECK(out.config == config);
}

TEST_CASE("synthetic: DeepSeek-V3.2, in groups that keep equal numbers, with its MTP layer behind the last") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "deepseek_v32"},
              {"num_hidden_layers", 1},
              {"num_nextn_predict_layers", 1},
              {"n_routed_experts", 8},
              {"num_experts_per_tok", 2},
              {"n_group", 2},
              {"topk_group", 1},
              {"topk_method", "noaux_tc"},
              {"scoring_func", "sigmoid"},
              {"norm_topk_prob", true},
              {"routed_scaling_factor", 2.5},
              {"hidden_size", 16},
              {"first_k_dense_replace", 0},
              {"index_topk", 8}};
  made.config(config);
  for (int const layer : {0, 1}) {
    auto const prefix = "model.layers." + std::to_string(layer) + ".mlp.";
    made.add(prefix + "gate.weight", {8, 16});
    made.add(prefix + "gate.e_score_correction_bias", {8}, cull::dtype::f32);
    made.add_experts(prefix + "experts.", 8);
  }
  made.add("model.layers.1.eh_proj.weight", {16, 32});
  made.write();
  pruned const out{made.dir(), folder / "out", {1, 2, 4, 7}};
  CHECK(out.model.mtp_layers() == std::vector<int>{1});
  CHECK(out.model.router().groups == 2);
  out.moved("model.layers.1.mlp.experts.7.down_proj.weight", "model.layers.1.mlp.experts.3.down_proj.weight");
  config["n_routed_experts"] = 4;
  CHECK(out.config == config);
  cull::pruning_plan uneven;
  for (int const layer : {0, 1}) uneven.layers[layer] = {0, 1, 2, 4};
  CHECK(code_of([&] { cull::apply(out.model, uneven, folder / "uneven"); }) == cull::errc::bad_plan);
}

TEST_CASE("synthetic: GLM-4.7, whose MTP layer lies in a file that the index does not name") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "glm4_moe"}, {"num_hidden_layers", 1},    {"num_nextn_predict_layers", 1},
              {"n_routed_experts", 4},    {"num_experts_per_tok", 2},  {"n_group", 1},
              {"topk_group", 1},          {"norm_topk_prob", true},    {"routed_scaling_factor", 1.0},
              {"hidden_size", 16},        {"first_k_dense_replace", 0}};
  made.config(config);
  json map;
  for (int const layer : {0, 1}) {
    auto const prefix = "model.layers." + std::to_string(layer) + ".mlp.";
    made.add(prefix + "gate.weight", {4, 16});
    made.add(prefix + "gate.e_score_correction_bias", {4}, cull::dtype::f32);
    made.add_experts(prefix + "experts.", 4);
    made.write(layer == 0 ? "model-00001-of-00001.safetensors" : "mtp.safetensors");
  }
  for (auto const& [name, t] : test_support::read_safetensors((made.dir() / "model-00001-of-00001.safetensors").string())) {
    map[name] = "model-00001-of-00001.safetensors";
  }
  spill(made.dir() / "model.safetensors.index.json", json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  pruned const out{made.dir(), folder / "out", {2, 3}};
  CHECK(out.model.mtp_layers() == std::vector<int>{1});
  CHECK(fs::exists(folder / "out/mtp.safetensors"));
  out.moved("model.layers.1.mlp.experts.3.gate_proj.weight", "model.layers.1.mlp.experts.1.gate_proj.weight");
  config["n_routed_experts"] = 2;
  CHECK(out.config == config);
}

TEST_CASE("synthetic: no index, and one file empty beside another that holds all tensors; what is written is a model again") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  made.config({{"model_type", "glm4_moe"}, {"num_hidden_layers", 1}, {"num_nextn_predict_layers", 0}, {"n_routed_experts", 4},
               {"num_experts_per_tok", 2}, {"hidden_size", 16}, {"first_k_dense_replace", 0}});
  made.write();
  made.add("model.layers.0.mlp.gate.weight", {4, 16});
  made.add_experts("model.layers.0.mlp.experts.", 4);
  made.write("mtp.safetensors");
  pruned const out{made.dir(), folder / "out", {1, 3}};
  CHECK(fs::exists(folder / "out/model.safetensors"));
  auto const again = cull::checkpoint::open(folder / "out");
  CHECK(again.experts() == 2);
  CHECK(again.tensors().size() == 7);
}

TEST_CASE("synthetic: Qwen3-Next, with MTP layers numbered on their own") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "qwen3_next"}, {"num_hidden_layers", 2}, {"num_experts", 4},        {"num_experts_per_tok", 2},
              {"norm_topk_prob", true},     {"hidden_size", 16},      {"decoder_sparse_step", 1}};
  made.config(config);
  for (auto const* const layer : {"model.layers.0.", "model.layers.1.", "mtp.layers.0."}) {
    made.add(std::string{layer} + "mlp.gate.weight", {4, 16});
    made.add(std::string{layer} + "mlp.shared_expert_gate.weight", {1, 16});
    made.add_experts(std::string{layer} + "mlp.experts.", 4);
  }
  made.write();
  pruned const out{made.dir(), folder / "out", {0, 1, 3}};
  CHECK(out.model.moe_layers() == std::vector<int>{0, 1, 2});
  CHECK(out.model.mtp_layers() == std::vector<int>{2});
  CHECK(out.shape("mtp.layers.0.mlp.gate.weight") == shape{3, 16});
  CHECK(out.shape("mtp.layers.0.mlp.shared_expert_gate.weight") == shape{1, 16});
  out.moved("mtp.layers.0.mlp.experts.3.up_proj.weight", "mtp.layers.0.mlp.experts.2.up_proj.weight");
  CHECK(out.tensors.count("mtp.layers.0.mlp.experts.3.up_proj.weight") == 0);
  config["num_experts"] = 3;
  CHECK(out.config == config);
}

TEST_CASE("synthetic: Step-3.5, gate, up and down fused apart; lists that count layers stay") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "step3p5"},    {"num_hidden_layers", 3},
              {"moe_num_experts", 3},       {"moe_top_k", 2},
              {"norm_expert_weight", true}, {"moe_router_scaling_factor", 3.0},
              {"swiglu_limits", {3, 3, 7}}, {"swiglu_limits_shared", {3, 3, 3}},
              {"hidden_size", 16}};
  made.config(config);
  for (int const layer : {1, 2}) {
    auto const prefix = "model.layers." + std::to_string(layer) + ".";
    made.add(prefix + "moe.gate.weight", {3, 16});
    made.add(prefix + "moe.router_bias", {3}, cull::dtype::f32);
    made.add(prefix + "moe.gate_proj.weight", {3, 8, 16});
    made.add(prefix + "moe.up_proj.weight", {3, 8, 16});
    made.add(prefix + "moe.down_proj.weight", {3, 16, 8});
    made.add_expert(prefix + "share_expert.");
  }
  made.write();
  pruned const out{made.dir(), folder / "out", {0, 2}};
  CHECK(out.model.moe_layers() == std::vector<int>{1, 2});
  for (auto const* const part : {"gate_proj", "up_proj"}) {
    CHECK(out.shape(std::string{"model.layers.2.moe."} + part + ".weight") == shape{2, 8, 16});
  }
  CHECK(out.shape("model.layers.1.moe.down_proj.weight") == shape{2, 16, 8});
  CHECK(out.shape("model.layers.1.moe.router_bias") == shape{2});
  CHECK(out.shape("model.layers.1.share_expert.up_proj.weight") == shape{8, 16});
  auto const layer = out.model.moe_layer(2);
  CHECK(layer.activation.what == cull::activation_settings::kind::limited_silu);
  CHECK(layer.activation.limit == 7.0f);
  config["moe_num_experts"] = 2;
  CHECK(out.config == config);
}

TEST_CASE("synthetic: LongCat-Flash, whose zero-compute experts keep their router rows") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{{"model_type", "longcat_flash"}, {"num_layers", 1}, {"n_routed_experts", 4},
              {"zero_expert_num", 2},          {"moe_topk", 2},   {"hidden_size", 16},
              {"routed_scaling_factor", 6.0}};
  made.config(config);
  std::string const prefix = "model.layers.0.mlp.";
  made.add(prefix + "router.classifier.weight", {6, 16});
  made.add(prefix + "router.e_score_correction_bias", {6}, cull::dtype::f32);
  made.add_experts(prefix + "experts.", 4);
  made.add("model.layers.0.mlps.0.gate_proj.weight", {4, 16});
  made.write();
  pruned const out{made.dir(), folder / "out", {1, 3}};
  CHECK(out.model.router().zero_experts == 2);
  CHECK(out.shape(prefix + "router.classifier.weight") == shape{4, 16});
  CHECK(out.shape(prefix + "router.e_score_correction_bias") == shape{4});
  auto const& rows = out.before.at(prefix + "router.classifier.weight").bytes;
  auto const& kept = out.tensors.at(prefix + "router.classifier.weight").bytes;
  for (std::size_t i = 0; i < 4; ++i) {
    auto const from = std::vector<std::ptrdiff_t>{1, 3, 4, 5}[i];
    CHECK(
        std::equal(rows.begin() + from * 32, rows.begin() + (from + 1) * 32, kept.begin() + static_cast<std::ptrdiff_t>(i) * 32));
  }
  out.moved(prefix + "experts.3.up_proj.weight", prefix + "experts.1.up_proj.weight");
  config["n_routed_experts"] = 2;
  CHECK(out.config == config);

  // A negative number makes a router look whole that has no row for the last experts.
  config["n_routed_experts"] = 8;
  config["zero_expert_num"] = -2;
  made.config(config);
  CHECK(code_of([&] { cull::checkpoint::open(made.dir()); }) == cull::errc::bad_config);
}

TEST_CASE("synthetic: HunYuan and Ernie, whose counts are lists") {
  scratch_folder const folder;
  {
    synthetic_model made{folder / "hunyuan"};
    json config{{"model_type", "hunyuan_v1_moe"},
                {"num_hidden_layers", 2},
                {"num_experts", {4, 4}},
                {"moe_topk", {2, 2}},
                {"hidden_size", 16},
                {"num_key_value_heads", 4}};
    made.config(config);
    for (int const layer : {0, 1}) {
      auto const prefix = "model.layers." + std::to_string(layer) + ".mlp.";
      made.add(prefix + "gate.wg.weight", {4, 16}, cull::dtype::f32);
      made.add_experts(prefix + "experts.", 4);
    }
    made.write();
    pruned const out{made.dir(), folder / "hunyuan-3", {0, 2, 3}};
    config["num_experts"] = {3, 3};
    CHECK(out.config == config);
    CHECK(out.shape("model.layers.1.mlp.gate.wg.weight") == shape{3, 16});
  }
  synthetic_model made{folder / "ernie"};
  json config{{"model_type", "ernie4_5_moe"},
              {"num_hidden_layers", 1},
              {"moe_num_experts", 4},
              {"moe_capacity", {4, 4, 4}},
              {"moe_k", 2},
              {"hidden_size", 16},
              {"moe_layer_start_index", 0}};
  made.config(config);
  made.add("model.layers.0.mlp.gate.weight", {4, 16}, cull::dtype::f32);
  made.add("model.layers.0.mlp.moe_statics.e_score_correction_bias", {1, 4}, cull::dtype::f32);
  made.add_experts("model.layers.0.mlp.experts.", 4);
  made.write();
  pruned const out{made.dir(), folder / "ernie-2", {0, 3}};
  config["moe_num_experts"] = 2;
  config["moe_capacity"] = {2, 2, 2};
  CHECK(out.config == config);
  CHECK(out.shape("model.layers.0.mlp.moe_statics.e_score_correction_bias") == shape{1, 2});
}

TEST_CASE("synthetic: two formats in one model, per tensor") {
  scratch_folder const folder;
  synthetic_model made{folder / "model"};
  json config{
      {"model_type", "qwen3_moe"}, {"num_hidden_layers", 1}, {"num_experts", 3}, {"num_experts_per_tok", 1}, {"hidden_size", 16}};
  made.config(config);
  std::string const prefix = "model.layers.0.mlp.";
  made.add(prefix + "gate.weight", {3, 16});
  for (auto const* const part : {"gate_proj", "up_proj", "down_proj"}) {
    bool const down = std::string{part} == "down_proj";
    std::uint64_t const rows = down ? 16 : 32, cols = down ? 32 : 16;
    made.add(prefix + "experts.0." + part + ".weight", {rows, cols});
    made.add(prefix + "experts.1." + part + ".weight", {rows, cols / 2}, cull::dtype::u8);
    made.add(prefix + "experts.1." + part + ".weight_scale", {rows, cols / 16}, cull::dtype::f8_e4m3);
    made.add(prefix + "experts.1." + part + ".weight_scale_2", {}, cull::dtype::f32);
    made.add(prefix + "experts.2." + part + ".weight", {rows, cols}, cull::dtype::f16);
  }
  made.write();
  auto const layer = cull::checkpoint::open(made.dir()).moe_layer(0);
  CHECK(layer.experts[0].up.get_if<cull::bf16_format>() != nullptr);
  CHECK(layer.experts[1].up.get_if<cull::nvfp4_modelopt>() != nullptr);
  CHECK(layer.experts[2].down.get_if<cull::f16_format>() != nullptr);
  pruned const out{made.dir(), folder / "out", {1, 2}};
  out.moved(prefix + "experts.1.up_proj.weight_scale_2", prefix + "experts.0.up_proj.weight_scale_2");
  out.moved(prefix + "experts.2.up_proj.weight", prefix + "experts.1.up_proj.weight");
  CHECK(out.tensors.count(prefix + "experts.1.up_proj.weight_scale") == 0);
}

TEST_CASE("synthetic: what does not fit is said with what was expected and what is there") {
  scratch_folder const folder;
  json const config{
      {"model_type", "qwen3_moe"}, {"num_hidden_layers", 1}, {"num_experts", 3}, {"num_experts_per_tok", 1}, {"hidden_size", 16}};
  std::string const prefix = "model.layers.0.mlp.";
  auto const opened = [&](auto const& build, json const& with) {
    fs::remove_all(folder / "model");
    synthetic_model made{folder / "model"};
    made.config(with);
    build(made);
    made.write();
    return std::string{failure_of([&] { cull::checkpoint::open(made.dir()).moe_layer(0); }).what()};
  };
  auto const whole = [&](synthetic_model& to, int rows, int experts) {
    to.add(prefix + "gate.weight", {static_cast<std::uint64_t>(rows), 16});
    to.add_experts(prefix + "experts.", experts);
  };
  auto const rows = opened([&](auto& to) { whole(to, 4, 3); }, config);
  CHECK_MESSAGE((mentions(rows, prefix + "gate.weight") && mentions(rows, "4") && mentions(rows, "3")), rows);
  auto const missing = opened([&](auto& to) { whole(to, 3, 2); }, config);
  CHECK_MESSAGE(mentions(missing, "experts"), missing);
  auto const unknown = opened([&](auto& to) { whole(to, 3, 3); }, json{{"model_type", "nobody"}});
  CHECK_MESSAGE((mentions(unknown, "'nobody'") && mentions(unknown, "--family FILE") && mentions(unknown, "glm_moe_dsa")),
                unknown);
}
