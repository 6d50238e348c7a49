// SPDX-License-Identifier: Apache-2.0
// Families and storage formats against transformers: the routing, norms, sums and keep-sets of its own run, and the tensors and
// counts of the models it saved after slicing in memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cull/checkpoint.hpp>
#include <cull/cpu.hpp>
#include <cull/saliency.hpp>

#include "scratch.hpp"
#include "support/sha256.hpp"

namespace {

using namespace checkpoint_test;

std::vector<std::string> fixtures() {
  std::vector<std::string> out;
  for (auto const& entry : fs::directory_iterator{fs::path{CULL_TEST_DATA} / "families"}) {
    out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// One family's fixture: the model, and the answers.
struct fixture {
  explicit fixture(std::string const& name)
      : dir(fs::path{CULL_TEST_DATA} / "families" / name),
        model(cull::checkpoint::open(dir / "model")),
        oracle(test_support::read_safetensors((dir / "oracle.safetensors").string())),
        keep(read_json(dir / "keep.json")) {}

  template <class T>
  std::vector<T> answer(std::string const& name, int layer) const {
    return oracle.at(name + "." + std::to_string(layer)).as<T>();
  }
  std::vector<int> kept(int layer) const { return keep.at("layers").at(std::to_string(layer)).at("keep").get<std::vector<int>>(); }
  cull::pruning_plan plan() const {
    cull::pruning_plan out;
    for (int const layer : model.moe_layers()) out.layers[layer] = kept(layer);
    return out;
  }

  fs::path dir;
  cull::checkpoint model;
  std::map<std::string, test_support::tensor> oracle;
  nlohmann::json keep;
};

cull::matrix_view<float const> as_matrix(std::vector<float> const& values, std::int64_t rows) {
  return {values.data(), rows, static_cast<std::int64_t>(values.size()) / rows};
}

/// Runs the MoE blocks on the inputs that transformers gave them.
cull::default_observation observe(fixture const& of, double* worst_gate, double* worst_norm) {
  cull::on_cpu const exec{2};
  cull::default_observation seen{exec, {.layers = of.model.moe_layers(), .experts = of.model.experts()}};
  for (int const number : of.model.moe_layers()) {
    auto const layer = of.model.moe_layer(number);
    auto const x = of.answer<float>("block_input", number);
    auto const tokens = of.oracle.at("topk_ids." + std::to_string(number)).shape[0];
    bool const own_input = of.oracle.contains("expert_input." + std::to_string(number));
    auto const input = own_input ? of.answer<float>("expert_input", number) : std::vector<float>{};
    cull::collector collect{exec, cull::model_router{layer}, layer};
    cull::block_inputs in{.router_input = as_matrix(x, tokens)};
    if (own_input) in.expert_input = as_matrix(input, tokens);
    collect(in, seen.at(number));

    auto const ids = of.answer<std::int32_t>("topk_ids", number);
    auto const weights = of.answer<float>("topk_weights", number);
    auto const norms = of.answer<double>("norms", number);
    auto const chosen = collect.routing();
    REQUIRE(static_cast<std::size_t>(chosen.tokens() * chosen.k()) == ids.size());
    bool const equal_ids = std::equal(ids.begin(), ids.end(), chosen.ids.data());
    CHECK(equal_ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      *worst_gate = std::max(*worst_gate, std::abs(static_cast<double>(chosen.weights.data()[i]) - static_cast<double>(weights[i])));
      *worst_norm = std::max(*worst_norm, std::abs(collect.norms().data()[i] - norms[i]) / norms[i]);
    }
  }
  return seen;
}

}  // namespace

TEST_CASE("sha256: the examples of FIPS 180-4") {
  auto const digest = [](std::string const& text) {
    return test_support::sha256::hex({reinterpret_cast<unsigned char const*>(text.data()), text.size()});
  };
  CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("families: routing, norms, sums and keep-sets are transformers' own") {
  REQUIRE(fixtures().size() == 24);
  for (auto const& name : fixtures()) {
    CAPTURE(name);
    fixture const of{name};
    CHECK(of.model.experts() == of.keep.at("experts").get<int>());
    double worst_gate = 0;
    double worst_norm = 0;
    auto const seen = observe(of, &worst_gate, &worst_norm);
    INFO("gate weights differ by ", worst_gate, ", norms by ", worst_norm);
    CHECK(worst_gate <= 2e-6);
    CHECK(worst_norm <= 2e-6);
    auto const selected =
        cull::select(seen, cull::reap, cull::keep{of.keep.at("keep").get<int>(), of.keep.at("groups").get<int>()});
    for (auto const& layer : selected.layers) {
      CAPTURE(layer.layer);
      CHECK(layer.kept == of.kept(layer.layer));
      auto const counts = of.answer<std::int64_t>("count", layer.layer);
      auto const sums = of.answer<double>("sum_gf", layer.layer);
      for (int e = 0; e < of.model.experts(); ++e) {
        auto const own = seen.sums(layer.layer, e);
        CHECK(own.count() == counts[static_cast<std::size_t>(e)]);
        CHECK(own.sum(cull::gate_norm) == doctest::Approx(sums[static_cast<std::size_t>(e)]).epsilon(3e-6));
      }
    }
  }
}

TEST_CASE("families: apply writes the tensors and counts that transformers saves after slicing") {
  for (auto const& name : fixtures()) {
    CAPTURE(name);
    fixture const of{name};
    scratch_folder const folder;
    auto const out = folder / "pruned";
    cull::apply(of.model, of.plan(), out);
    auto const wanted = read_json(of.dir / "pruned.json");
    auto const tensors = all_tensors(out);
    CHECK(tensors.size() == wanted.at("tensors").size());
    for (auto const& entry : wanted.at("tensors").items()) {
      auto const& tensor_name = entry.key();
      CAPTURE(tensor_name);
      auto const found = tensors.find(tensor_name);
      REQUIRE(found != tensors.end());
      CHECK(found->second.dtype == entry.value().at("dtype").get<std::string>());
      CHECK(found->second.shape == entry.value().at("shape").get<std::vector<std::int64_t>>());
      CHECK(test_support::sha256::hex(found->second.bytes).substr(0, 32) == entry.value().at("sha256").get<std::string>());
    }
    auto const source = read_json(of.dir / "model/config.json");
    auto const config = read_json(out / "config.json");
    auto expected = source;
    for (auto const& [key, value] : wanted.at("config").items()) {
      if (source.contains(key) && source.at(key) != value) expected[key] = value;
    }
    CHECK(config == expected);
    auto const report = cull::find_differences(of.model, of.plan(), out);
    CHECK(report.failures.empty());
  }
}
