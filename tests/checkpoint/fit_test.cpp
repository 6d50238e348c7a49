// SPDX-License-Identifier: Apache-2.0
// Sizes that are promised before anything is written.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include <support/sanitized.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

std::vector<int> lowest(int count) {
  std::vector<int> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// The same number from each of the router's groups.
cull::pruning_plan even_plan(cull::checkpoint const& model, int count) {
  int const groups = std::max(1, model.router().groups);
  std::vector<int> kept;
  for (int g = 0; g < groups; ++g) {
    for (int const id : lowest(count / groups)) kept.push_back(g * (model.experts() / groups) + id);
  }
  cull::pruning_plan plan;
  for (int const layer : model.moe_layers()) {
    plan.layers[layer] = kept;
    plan.notes[layer] = {.margin = 0.25, .tied = {}, .never_chosen = {3}, .unsettled = {1, 2}, .sequences_to_settle = HUGE_VAL};
  }
  return plan;
}

std::uint64_t bytes_on_disk(fs::path const& dir) {
  std::uint64_t out = 0;
  for (auto const& entry : fs::recursive_directory_iterator{dir}) out += entry.is_regular_file() ? entry.file_size() : 0;
  return out;
}

/// GLM-5.2 with NVFP4 experts at its true size: headers and config; the weights are holes in sparse files.
class true_size_model {
 public:
  explicit true_size_model(fs::path dir) : dir_(std::move(dir)) {
    fs::create_directories(dir_);
    spill(dir_ / "config.json", R"({"architectures": ["GlmMoeDsaForCausalLM"], "model_type": "glm_moe_dsa", "hidden_size": 6144,
      "moe_intermediate_size": 2048, "intermediate_size": 12288, "num_hidden_layers": 78, "first_k_dense_replace": 3,
      "n_routed_experts": 256, "num_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 1, "topk_group": 1,
      "norm_topk_prob": true, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
      "num_nextn_predict_layers": 1, "hidden_act": "silu", "vocab_size": 154880})");
    for (int layer = 0; layer <= 78; ++layer) {
      add_layer(layer);
      write_shard(layer);
    }
    spill(dir_ / "model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + index_ + "}}");
  }

 private:
  void add(std::string const& name, char const* type, std::vector<std::int64_t> const& shape, std::int64_t bits) {
    std::int64_t size = bits;
    for (auto const n : shape) size *= n;
    header_ += (header_.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"" + type +
               "\",\"shape\":" + nlohmann::json(shape).dump() + ",\"data_offsets\":[" + std::to_string(end_) + "," +
               std::to_string(end_ + size / 8) + "]}";
    end_ += size / 8;
    names_.push_back(name);
  }
  void bf16(std::string const& name, std::vector<std::int64_t> const& shape) { add(name + ".weight", "BF16", shape, 16); }
  void nvfp4(std::string const& name, std::int64_t rows, std::int64_t cols) {
    add(name + ".weight", "U8", {rows, cols / 2}, 8);
    add(name + ".weight_scale", "F8_E4M3", {rows, cols / 16}, 8);
    add(name + ".weight_scale_2", "F32", {}, 32);
    add(name + ".input_scale", "F32", {}, 32);
  }
  void add_attention(std::string const& at, bool indexer) {
    bf16(at + "q_a_proj", {2048, 6144});
    bf16(at + "q_a_layernorm", {2048});
    bf16(at + "q_b_proj", {64 * 256, 2048});
    bf16(at + "kv_a_proj_with_mqa", {576, 6144});
    bf16(at + "kv_a_layernorm", {512});
    bf16(at + "kv_b_proj", {64 * 448, 512});
    bf16(at + "o_proj", {6144, 64 * 256});
    if (!indexer) return;
    bf16(at + "indexer.wq_b", {32 * 128, 2048});
    bf16(at + "indexer.wk", {128, 6144});
    bf16(at + "indexer.k_norm", {128});
    add(at + "indexer.k_norm.bias", "BF16", {128}, 16);
    bf16(at + "indexer.weights_proj", {32, 6144});
  }
  void add_mlp(std::string const& at, std::int64_t width) {
    bf16(at + "gate_proj", {width, 6144});
    bf16(at + "up_proj", {width, 6144});
    bf16(at + "down_proj", {6144, width});
  }
  void add_layer(int layer) {
    auto const at = "model.layers." + std::to_string(layer) + ".";
    bf16(at + "input_layernorm", {6144});
    bf16(at + "post_attention_layernorm", {6144});
    add_attention(at + "self_attn.", layer < 3 || layer == 78 || layer % 4 == 2);
    if (layer < 3) {
      add_mlp(at + "mlp.", 12288);
    } else {
      add_mlp(at + "mlp.shared_experts.", 2048);
      bf16(at + "mlp.gate", {256, 6144});
      add(at + "mlp.gate.e_score_correction_bias", "F32", {256}, 32);
      for (int e = 0; e < 256; ++e) {
        auto const expert = at + "mlp.experts." + std::to_string(e) + ".";
        nvfp4(expert + "gate_proj", 2048, 6144);
        nvfp4(expert + "up_proj", 2048, 6144);
        nvfp4(expert + "down_proj", 6144, 2048);
      }
    }
    if (layer == 0) bf16("model.embed_tokens", {154880, 6144});
    if (layer == 77) bf16("model.norm", {6144});
    if (layer == 77) bf16("lm_head", {154880, 6144});
    if (layer != 78) return;
    bf16(at + "eh_proj", {6144, 12288});
    for (auto const* const norm : {"enorm", "hnorm", "shared_head.norm"}) bf16(at + norm, {6144});
  }
  void write_shard(int layer) {
    auto text = header_ + "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    std::string length;
    for (int i = 0; i < 8; ++i) length += static_cast<char>((text.size() >> (8 * i)) & 0xff);
    auto const path = dir_ / ("model-" + std::to_string(100 + layer) + ".safetensors");
    for (auto const& name : names_) index_ += (index_.empty() ? "\"" : ",\"") + name + "\":\"" + path.filename().string() + "\"";
    names_.clear();
    spill(path, length + text);
    fs::resize_file(path, 8 + text.size() + static_cast<std::uint64_t>(end_));
    header_.clear();
    end_ = 0;
  }

  fs::path dir_;
  std::string header_, index_;
  std::vector<std::string> names_;
  std::int64_t end_ = 0;
};

double gigabytes(std::uint64_t bytes) { return std::round(static_cast<double>(bytes) / 1e7) / 100; }

}  // namespace

TEST_CASE("predict_written: every byte of the directory, on the shipped model and all families") {
  std::vector<fs::path> models{model_dir()};
  for (auto const& entry : fs::directory_iterator{fs::path{CULL_TEST_DATA} / "families"})
    models.push_back(entry.path() / "model");
  CHECK(models.size() >= 25);
  if (test_support::sanitized) models.resize(4);
  for (auto const& dir : models) {
    CAPTURE(dir.string());
    auto const model = cull::checkpoint::open(dir);
    int const groups = std::max(1, model.router().groups);
    for (int const count : {model.experts(), (model.experts() - 1) / groups * groups}) {
      if (count < model.router().top_k || count < 2 * groups) continue;
      auto const plan = even_plan(model, count);
      scratch_folder const folder;
      auto const report = cull::apply(model, plan, folder / "out");
      auto const promised = cull::predict_written(model, plan);
      CHECK(promised == report.bytes);
      CHECK(promised == bytes_on_disk(folder / "out"));
    }
  }
}

TEST_CASE("largest_fit: the greatest count within the limit, for every limit") {
  std::vector<int> const counts{8, 16, 24, 32};
  auto const size_of = [](int n) { return static_cast<std::uint64_t>(100 * n + 7); };
  for (std::uint64_t limit = 700; limit < 3400; limit += 1) {
    std::optional<int> wanted;
    for (int const n : counts) {
      if (size_of(n) <= limit) wanted = n;
    }
    REQUIRE(cull::largest_fit(counts, limit, size_of) == wanted);
  }
  CHECK(cull::largest_fit(std::vector<int>{}, 10, size_of) == std::nullopt);
}

// Without sanitizers only: 234,000 tensors run the code that a thousand run.
TEST_CASE("GLM-5.2 at its true size: the ledger of 256, 168 and 156 experts, and what fits into 288 GiB" *
          doctest::skip(test_support::sanitized)) {
  scratch_folder const folder;
  true_size_model const files{folder / "model"};
  auto const model = cull::checkpoint::open(folder / "model");
  CHECK(model.moe_layers().size() == 76);
  CHECK(model.mtp_layers() == std::vector<int>{78});
  CHECK(gigabytes(model.ledger().bytes) == 450.90);
  CHECK(gigabytes(cull::predict(model, even_plan(model, 168)).bytes) == 308.81);
  CHECK(gigabytes(cull::predict(model, even_plan(model, 156)).bytes) == 289.43);
  std::vector<int> const counts{152, 160, 168, 176};
  auto const size_of = [&](int n) { return cull::predict_written(model, even_plan(model, n)); };
  CHECK(cull::largest_fit(counts, std::uint64_t{288} << 30, size_of) == 168);
}
