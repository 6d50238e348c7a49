// SPDX-License-Identifier: Apache-2.0
// What serving engines demand: checkpoints in parts that tests break, one respect at a time.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <set>

#include <support/sanitized.hpp>

#include "scratch.hpp"

namespace serving_test {

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

inline cull::serving_check row(std::vector<cull::serving_check> const& checks, std::string const& demand) {
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
inline void check_cases(served const& from, std::vector<serving_case> const& cases) {
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

inline constexpr auto good = serving_verdict::good, note = serving_verdict::note, bad = serving_verdict::bad;
inline constexpr float infinity = std::numeric_limits<float>::infinity();

inline std::string expert(int layer, int number) {
  return "model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(number) + ".";
}

}  // namespace serving_test
