// SPDX-License-Identifier: Apache-2.0
// What a pruned model must hold, worked out from its source by names alone, and a check of what was written by a reader that
// shares nothing with apply.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <regex>
#include <string>

#include "scratch.hpp"
#include "small_model.hpp"

namespace checkpoint_test {

inline bool same_tensor(test_support::tensor const& a, test_support::tensor const& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
}

/// The tensors that a pruned tiny-glm must have, from the plan and a regular expression over names.
inline std::map<std::string, test_support::tensor> pruned_tensors(cull::pruning_plan const& plan, bool with_mtp = true) {
  static std::regex const expert{R"(model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(.*))"},
      router{R"(model\.layers\.(\d+)\.mlp\.gate\..*)"};
  std::map<std::string, test_support::tensor> out;
  for (auto const& [name, t] : all_tensors(model_dir())) {
    std::smatch m;
    if (!with_mtp && name.starts_with("model.layers.5.")) continue;
    if (std::regex_match(name, m, expert)) {
      auto const& kept = plan.layers.at(std::stoi(m[1]));
      for (std::size_t i = 0; i < kept.size(); ++i) {
        if (kept[i] == std::stoi(m[2]))
          out["model.layers." + m[1].str() + ".mlp.experts." + std::to_string(i) + "." + m[3].str()] = t;
      }
    } else if (std::regex_match(name, m, router)) {
      auto const& kept = plan.layers.at(std::stoi(m[1]));
      auto rows = t;
      rows.bytes.clear();
      rows.shape[0] = static_cast<std::int64_t>(kept.size());
      auto const size = t.bytes.size() / 64;
      for (int const id : kept)
        rows.bytes.insert(rows.bytes.end(), t.bytes.begin() + static_cast<std::ptrdiff_t>(size * static_cast<std::size_t>(id)),
                          t.bytes.begin() + static_cast<std::ptrdiff_t>(size * static_cast<std::size_t>(id + 1)));
      out[name] = rows;
    } else {
      out[name] = t;
    }
  }
  return out;
}

inline void check_tensors(std::map<std::string, test_support::tensor> const& wanted, fs::path const& dir) {
  auto const written = all_tensors(dir);
  REQUIRE(written.size() == wanted.size());
  std::int64_t different = 0;
  for (auto const& [name, t] : wanted) different += written.contains(name) && same_tensor(written.at(name), t) ? 0 : 1;
  CHECK(different == 0);
  std::uint64_t total = 0;
  for (auto const& [name, t] : written) total += t.bytes.size();
  auto const index = nlohmann::json::parse(slurp(dir / "model.safetensors.index.json"));
  CHECK(index.at("metadata").at("total_size") == total);
  CHECK(index.at("weight_map").size() == written.size());
  std::map<std::string, std::string> shard_of;
  for (auto const& entry : fs::directory_iterator{dir}) {
    if (entry.path().extension() != ".safetensors") continue;
    for (auto const& [name, t] : test_support::read_safetensors(entry.path().string()))
      shard_of[name] = entry.path().filename().string();
  }
  CHECK(index.at("weight_map").get<std::map<std::string, std::string>>() == shard_of);
}

}  // namespace checkpoint_test
