// SPDX-License-Identifier: Apache-2.0
// Decoders of other families against transformers' own forward in f32, before and after pruning.
#include "fixture.hpp"

#include <cull/cpu.hpp>

#include <engine/calibrate.hpp>
#include <engine/generate.hpp>

namespace {

namespace fs = std::filesystem;

fs::path data(std::string const& folder) { return fs::path{CULL_TEST_DATA} / folder; }

using tensors = decltype(test_support::read_safetensors(std::string{}));

tensors answers(fs::path const& file) { return test_support::read_safetensors(file.string()); }

engine::sequence sequence_of(std::vector<std::int32_t> ids) {
  return {.id = "one", .domain = "all", .ids = {ids.begin(), ids.end()}, .weights = {}};
}

struct forward_logits {
  std::vector<float> model, mtp;
};

forward_logits run(cull::checkpoint const& model, engine::sequence const& sequence, cull::on_cpu exec = {2},
                   std::int64_t batch_tokens = 50) {
  forward_logits out;
  auto const into = [](std::vector<float>& to) {
    return [&to](std::int64_t, cull::matrix_view<float const> logits) {
      to.assign(logits.data(), logits.data() + logits.rows() * logits.cols());
    };
  };
  engine::decoder decoder{model, exec, {.batch_tokens = batch_tokens}};
  decoder.run(std::span{&sequence, 1}, {.on_logits = into(out.model), .on_mtp_logits = into(out.mtp)});
  return out;
}

double relative_error(std::vector<float> const& ours, std::vector<float> const& answer) {
  return fixture::relative_error({ours.data(), 1, static_cast<std::int64_t>(ours.size())}, answer);
}

/// Fixtures whose every layer the engine runs; the others are calibrated from recorded states.
std::vector<std::string> const runnable{"deepseek_v2",
                                        "deepseek_v3",
                                        "deepseek_v3.fp8_block",
                                        "deepseek_v3.modelopt_nvfp4",
                                        "dots1",
                                        "ernie4_5_moe",
                                        "glm4_moe",
                                        "gpt_oss",
                                        "gpt_oss.mxfp4",
                                        "minimax_m2",
                                        "mixtral",
                                        "mixtral.modelopt_nvfp4",
                                        "olmoe",
                                        "qwen3_moe",
                                        "qwen3_moe.compressed_tensors_nvfp4",
                                        "qwen3_moe.fused",
                                        "qwen3_moe.modelopt_nvfp4"};

cull::pruning_plan plan_of(fs::path const& file, cull::checkpoint const& model) {
  auto const keep = fixture::json(file);
  cull::pruning_plan out;
  for (int const layer : model.moe_layers()) {
    out.layers[layer] = keep.at("layers").at(std::to_string(layer)).at("keep").get<std::vector<int>>();
  }
  return out;
}

}  // namespace

TEST_CASE("families: logits of the model, and of the model pruned, are transformers'") {
  for (auto const& name : runnable) {
    CAPTURE(name);
    auto const folder = data("families/" + name);
    auto const model = cull::checkpoint::open(folder / "model");
    auto const answer = answers(folder / "oracle.safetensors");
    auto const sequence = sequence_of(answer.at("ids").as<std::int32_t>());
    double const whole = relative_error(run(model, sequence).model, answer.at("logits").as<float>());
    CHECK(whole < 1e-6);

    fixture::scratch_folder const scratch;
    fs::create_directory(scratch.path());
    cull::apply(model, plan_of(folder / "keep.json", model), scratch.path() / "pruned");
    auto const pruned = cull::checkpoint::open(scratch.path() / "pruned");
    double const after = relative_error(run(pruned, sequence).model, answer.at("pruned_logits").as<float>());
    CHECK(after < 1e-6);
    MESSAGE(name << ": logits " << whole << ", pruned " << after);
  }
}

TEST_CASE("families: windows, YaRN, partial rotary parts, clipping and older config keys are transformers'") {
  auto const variants = fixture::json(data("engine/variants.json"));
  auto const answer = answers(data("engine/variants.safetensors"));
  REQUIRE(variants.size() == 8);
  for (auto const& entry : variants.items()) {
    auto const& name = entry.key();
    CAPTURE(name);
    auto const source = data("families") / entry.value().at("family").get<std::string>() / "model";
    fixture::scratch_folder const scratch;
    fs::copy(source, scratch.path());
    auto config = fixture::json(source / "config.json");
    config.update(entry.value().at("config"));
    std::ofstream{scratch.path() / "config.json"} << config.dump();
    auto const sequence = sequence_of(answer.at(name + ".ids").as<std::int32_t>());
    auto const& wanted = answer.at(name + ".logits");
    double const error = relative_error(run(cull::checkpoint::open(scratch.path()), sequence).model, wanted.as<float>());
    CHECK(error < 1e-6);
    MESSAGE(name << ": " << error);
  }
}

TEST_CASE("families: latent attention without a low rank for queries, under tied embeddings") {
  auto const answer = answers(data("engine/deepseek_v2_lite/oracle.safetensors"));
  auto const model = cull::checkpoint::open(data("engine/deepseek_v2_lite/model"));
  auto const ours = run(model, sequence_of(answer.at("ids").as<std::int32_t>()));
  CHECK(relative_error(ours.model, answer.at("logits").as<float>()) < 1e-6);
  CHECK(ours.mtp.empty());
}

TEST_CASE("families: an MTP layer with grouped-query attention, in a file of its own") {
  auto const answer = answers(data("engine/glm4_moe_mtp/oracle.safetensors"));
  auto const model = cull::checkpoint::open(data("engine/glm4_moe_mtp/model"));
  REQUIRE(model.mtp_layers() == std::vector<int>{2});
  auto const ours = run(model, sequence_of(answer.at("ids").as<std::int32_t>()));
  CHECK(relative_error(ours.model, answer.at("logits").as<float>()) < 1e-6);
  CHECK(relative_error(ours.mtp, answer.at("mtp_logits").as<float>()) < 1e-6);
}

TEST_CASE("families: logits are the same bits in any batches, on any threads, and token by token") {
  for (auto const* const name : {"gpt_oss", "qwen3_moe", "deepseek_v3"}) {
    CAPTURE(name);
    auto const folder = data("families") / name;
    auto const model = cull::checkpoint::open(folder / "model");
    auto const sequence = sequence_of(answers(folder / "oracle.safetensors").at("ids").as<std::int32_t>());
    auto const wanted = run(model, sequence, {1}, 0).model;
    CHECK(wanted == run(model, sequence, {4}, 1).model);
    CHECK(wanted == run(model, sequence, {3}, 7).model);

    // Greedy continuations of a prompt see the logits that the whole sequence sees.
    engine::prompt const prompt{.id = "one", .ids = {sequence.ids.begin(), sequence.ids.begin() + 20}, .answer = {}};
    std::vector<float> stepwise;
    engine::generate_options options;
    options.on_logits = [&](std::size_t, std::int64_t, cull::array_view<float const> row) {
      stepwise.insert(stepwise.end(), row.begin(), row.end());
    };
    auto const traces = engine::generate(model, {2}, std::span{&prompt, 1}, {.max_tokens = 6}, options);
    auto const& ids = traces.at(0).ids;
    auto const again = run(model, {.id = "one", .domain = "all", .ids = {ids.begin(), ids.end() - 1}, .weights = {}}).model;
    auto const width = again.size() / (ids.size() - 1);
    REQUIRE(stepwise.size() == traces.at(0).new_ids.size() * width);
    CHECK(std::equal(stepwise.begin(), stepwise.end(), again.end() - static_cast<std::ptrdiff_t>(stepwise.size())));
  }
}

TEST_CASE("families: calibrating from sequences counts what transformers counted") {
  for (auto const& name : runnable) {
    CAPTURE(name);
    auto const folder = data("families/" + name);
    auto const model = cull::checkpoint::open(folder / "model");
    auto const answer = answers(folder / "oracle.safetensors");
    auto const sequence = sequence_of(answer.at("ids").as<std::int32_t>());
    auto const keep = fixture::json(folder / "keep.json");
    auto const seen = engine::calibrate(model, {2}, std::span{&sequence, 1}, {}).observation;
    auto const selected = cull::select(seen, cull::reap, cull::keep{keep.at("keep").get<int>(), keep.at("groups").get<int>()});
    for (auto const& layer : selected.layers) {
      auto const number = std::to_string(layer.layer);
      CHECK(layer.kept == keep.at("layers").at(number).at("keep").get<std::vector<int>>());
      auto const counts = answer.at("count." + number).as<std::int64_t>();
      for (int e = 0; e < model.experts(); ++e) CHECK(seen.sums(layer.layer, e).count() == counts[static_cast<std::size_t>(e)]);
    }
  }
}

TEST_CASE("families: a model that the engine cannot run is refused with the way to calibrate it") {
  for (auto const* const name : {"qwen3_next", "nemotron_h", "llama4", "lfm2_moe", "qwen3_5_moe"}) {
    CAPTURE(name);
    auto const model = cull::checkpoint::open(data("families") / name / "model");
    CHECK_THROWS_WITH_AS((engine::decoder{model, cull::on_cpu{1}}), doctest::Contains("cull calibrate MODEL --states"), cull::error);
  }
}
